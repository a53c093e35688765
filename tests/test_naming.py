"Networks by name: published weights from caches, classes by name, parts of the classes, and what the command line says of them."
import http.server, re, threading

import pytest, timm, torch, torchvision
from PIL import Image
from safetensors.torch import save_file

from aeclf.classifiers import answer_names, classifier, count_logits, torch_cache
from aeclf.config import configure
from aeclf.data import photograph, synsets
from aeclf.store import BadInput, digest, save_weights, seeded, weights_meta
from aeclf.study import Study
from conftest import aeclf, one_line

TINY = 'timm/test_resnet'


@pytest.fixture
def caches(tmp_path, monkeypatch):
    "Empty caches of torch and the hub; nobody answers."
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path/'hub'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', 'http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}')
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path/'torch'))
    before = torch.hub._hub_dir
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    return tmp_path


def put_into_hub(caches, repo, net):
    folder = caches/'hub'/f'models--{repo.replace("/", "--")}'
    for path in (folder/'refs', folder/'snapshots'/'0123'): path.mkdir(parents=True, exist_ok=True)
    (folder/'refs'/'main').write_text('0123')
    save_file(net.state_dict(), folder/'snapshots'/'0123'/'model.safetensors')


def folder_of(root, names, n=8):
    "A folder of classes with these names, each a photograph's crops."
    for name, photo in zip(names, ('coffee', 'chelsea', 'rocket')):
        (root/name).mkdir(parents=True)
        for k in range(n): Image.fromarray(photograph(photo)[10*k:10*k+80, 12*k:12*k+100]).save(root/name/f'{k}.png')
    return root


def run(cwd, data, names, *more):
    return aeclf(cwd, 'run', '--data', f'folder:{data}', '--classifiers', names, '--size', '32', '--epochs', '1,1,1', '--out', 'study', *more)


def test_published_networks_read_a_part_of_imagenet(caches):
    "Three synsets of a thousand, two networks from the caches: all logits count, classes are matched by name, the nets stay what they are."
    with seeded(1): tiny, large = timm.create_model('test_resnet'), torchvision.models.resnet18()
    for net in (tiny, large): net.fc.bias.data[[30, 300, 700]] = 9   # one of the three is all they say
    put_into_hub(caches, 'timm/test_resnet.r160_in1k', tiny)
    file = torch_cache(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url)
    file.parent.mkdir(parents=True)
    torch.save(large.state_dict(), file)
    some = [synsets()[k] for k in (30, 300, 700)]
    data = folder_of(caches/'pictures', some[::-1])
    result = run(caches, data, 'timm/test_resnet:pretrained,torchvision/resnet18:IMAGENET1K_V1,R')
    assert result.returncode == 0, result.stderr
    first, *rest = [line for line in result.stdout.splitlines() if 'pixels' in line or 'matched' in line]
    assert 'test_resnet (trained, came from pretrained), resnet18 (trained, came from IMAGENET1K_V1), R, seed' in first
    assert [line.split(': ')[2] for line in rest] == ['the 3 classes of the data are matched by name with its 1000']*2
    study = Study.open(caches/'study', 'cpu')
    assert digest(study.classifier('test_resnet').net) == digest(tiny) and digest(study.classifier('resnet18').net) == digest(large)
    images, labels = study.images.valid.one_batch()
    for name, net in (('test_resnet', tiny), ('resnet18', large)):
        model = study.classifier(name)
        with torch.no_grad(): raw, ours = net.eval()((images-model.mean)/model.std), model(images)
        assert ours.shape[1] == 1000 and torch.allclose(ours[:, :3], raw[:, [30, 300, 700]], atol=1e-4)
        assert study.classes(name)[:3] == some and sorted(study.classes(name)) == synsets()
        true = raw[torch.arange(len(labels)), torch.tensor([30, 300, 700])[labels]]
        ranks = study.crosseval.ranks[0, study.crosseval.columns.index(name), :len(labels)]
        assert ranks.tolist() == (raw > true[:, None]).sum(1).tolist()
    pairs = study.table('evidence/agreement').reset_index()
    assert {tuple(p) for p in pairs[['column', 'other']].to_numpy()} == {('test_resnet', 'resnet18')}   # of the same classes


def test_what_is_in_no_cache_is_said_in_a_line(caches, pictures):
    one_line(run(caches, pictures, f'{TINY}:pretrained'), 'model.safetensors cannot be fetched', f'give {TINY}:model.safetensors')
    one_line(run(caches, pictures, 'torchvision/resnet18:IMAGENET1K_V1'), 'cannot be fetched', 'give torchvision/resnet18:resnet18-f37072fd.pth')
    one_line(run(caches, pictures, 'hf/someone/net'), 'someone/net/resolve/main/model.safetensors cannot be fetched', 'give hf/FOLDER, a folder with model.safetensors')
    assert not (caches/'study').exists()


def test_classes_in_another_order_and_unknown_ones(caches):
    "A file of a study brings the names of its classes; a network of one's own names them in a list, and says that it is trained."
    (caches/'nets.py').write_text('from aeclf.classifiers import small_resnet\ndef other():\n    net = small_resnet(3)\n    net.trained,net.classes = True,["cup", "cat", "ape"]\n    net[-1].bias.data[2] = -9\n    return net\n'
                                  'def needs(k): return small_resnet(k)\n')
    with seeded(0): save_weights(caches/'r.safetensors', classifier('small/resnet', 2), classes=['cup', 'cat'])
    data = folder_of(caches/'pictures', ['cat', 'cup'])
    result = run(caches, data, 'R:r.safetensors,nets.py:other', '--controls')
    assert result.returncode == 0, result.stderr
    assert 'R (trained, came from r.safetensors), nets (trained, came from nets.py:other), seed' in result.stdout
    meta = weights_meta(caches/'study'/'classifiers'/'nets.safetensors')
    assert meta['classes'] == ['cat', 'cup', 'ape'] and meta['order'] == [1, 0, 2]
    assert weights_meta(caches/'study'/'classifiers'/'R.safetensors')['order'] == [1, 0]
    again = run(caches, data, 'R:r.safetensors,nets.py:other', '--controls')
    assert again.returncode == 0 and 'nothing was trained' in again.stdout and 'matched by name' in again.stdout
    cows = folder_of(caches/'cows', ['cat', 'cow'])
    (caches/'study').rename(caches/'done')
    one_line(run(caches, cows, 'R:r.safetensors'), 'small/resnet:r.safetensors', "class 'cow' of the data is none of its 2 classes")


@pytest.mark.parametrize('makes', ['n_classes=3', '', '*n', 'n_classes'])
@pytest.mark.parametrize('loads', [True, False])
def test_a_trained_function_reads_a_part_of_its_classes(caches, makes, loads):
    "It says that it is trained: its classes are its own, whatever number its function would take; only one that wants a number gets the data's."
    with seeded(0): net = classifier('small/resnet', 3).net
    torch.save(net.state_dict(), caches/'w.pth')
    width, n_data = ('n_classes', 3) if makes == 'n_classes' else ('3', 2)
    if makes in ('n_classes=3', '*n'): width = 'n_classes' if makes != '*n' else '(n or [3])[0]'
    load = f'    net.load_state_dict(torch.load({str(caches/"w.pth")!r}))\n' if loads else ''
    (caches/'nets.py').write_text(f'import torch\nfrom aeclf.classifiers import small_resnet\ndef make({makes}):\n    net = small_resnet({width})\n{load}'
                                  '    net.trained,net.classes = True,["cup", "cat", "ape"]\n    return net\n')
    data = folder_of(caches/'pictures', ['cat', 'cup', 'ape'][:n_data])
    ws = Study(configure(f'folder:{data}', f'{caches}/nets.py:make', size=32, quick=True), caches/'study', 'cpu')
    assert ws.comes_trained('nets')
    model = ws.initial('nets')
    assert answer_names(model)[:n_data] == sorted(['cat', 'cup', 'ape'][:n_data]) and count_logits(model, 32) == 3
    if loads: assert digest(model.net) == digest(net)


def test_a_file_of_weights_as_it_was_published(caches):
    "A DenseNet in the layout in which torchvision published it, and one of timm that only timm's own conversion reads."
    with seeded(1): dense = torchvision.models.densenet121(num_classes=3)
    old = {re.sub(r'(denselayer\d+\.(?:norm|conv))([12])\.', r'\1.\2.', k): v for k, v in dense.state_dict().items()}
    assert set(old) != set(dense.state_dict())
    torch.save(old, caches/'dense.pth')
    assert digest(classifier('torchvision/densenet121', None, 64, caches/'dense.pth').net) == digest(dense)


@pytest.fixture
def hub(caches, monkeypatch):
    "A hub that has what lies under `served`, and remembers what was asked of it."
    from huggingface_hub import constants
    served, asked = caches/'served', []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append((self.command, self.path))
            file = served/self.path.lstrip('/').replace('/resolve/main/', '/').replace(f'/resolve/{"a"*40}/', '/')
            content = file.read_bytes() if file.is_file() else b''
            self.send_response(200 if content else 404)
            if not content: self.send_header('X-Error-Code', 'EntryNotFound')
            for key, value in {'X-Repo-Commit': 'a'*40, 'ETag': f'"{file.name}"', 'Content-Length': str(len(content))}.items(): self.send_header(key, value)
            self.end_headers()
            if self.command == 'GET': self.wfile.write(content)
        do_GET = do_HEAD
        def log_message(self, *args): pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_address[1]}'
    monkeypatch.setattr(constants, 'ENDPOINT', url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', url+'/{repo_id}/resolve/{revision}/{filename}')
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)
    yield served, asked, url
    server.shutdown()


def test_weights_are_fetched_once_when_they_are_named(hub, monkeypatch):
    "timm's from a hub, an older file behind a missing one; torchvision's from their address, whose digits are checked."
    served, asked, url = hub
    with seeded(1): tiny = timm.create_model('test_resnet')
    (served/'timm'/'test_resnet.r160_in1k').mkdir(parents=True)
    torch.save(tiny.state_dict(), served/'timm'/'test_resnet.r160_in1k'/'pytorch_model.bin')
    assert digest(classifier(TINY).net) != digest(tiny) and not asked   # without weights nothing is asked
    assert digest(classifier(TINY, None, weights='pretrained').net) == digest(tiny)
    assert [path.rpartition('/')[2] for how, path in asked if how == 'GET' and 'resolve' in path] == ['pytorch_model.bin']
    asked.clear()
    assert digest(classifier(TINY, None, weights='pretrained').net) == digest(tiny) and not asked
    weights = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    file = f'squeezenet1_1-{"0"*8}.pth'
    monkeypatch.setattr(type(weights), 'url', property(lambda self: f'{url}/{file}'))
    torch.save(torchvision.models.squeezenet1_1().state_dict(), served/file)
    with pytest.raises(BadInput, match='cannot be fetched .invalid hash value'): classifier('torchvision/squeezenet1_1', None, weights='IMAGENET1K_V1')
    assert not list(torch_cache(url+'/x').parent.glob('*'))


def test_a_network_of_transformers_from_the_hub(hub):
    T = pytest.importorskip('transformers')
    served, asked, _ = hub
    with seeded(0): net = T.ViTForImageClassification(T.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8, id2label={0: 'cup', 1: 'cat'}))
    net.save_pretrained(served/'someone'/'vit')
    T.ViTImageProcessor(size={'height': 32, 'width': 32}).save_pretrained(served/'someone'/'vit')
    model = classifier('hf/someone/vit', None)
    assert digest(model.net) == digest(net) and model.classes == ['cup', 'cat'] and model.size == 32
    asked.clear()
    assert digest(classifier('hf/someone/vit', None)) == digest(model)
    assert not [path for _, path in asked if 'model.safetensors' in path]   # it lies in the cache


def test_weights_in_several_files_are_asked_for_in_one(tmp_path):
    "Of those of a folder a study would not know again whether they have changed."
    for name in ('config.json', 'model.safetensors.index.json', 'model-00001-of-00002.safetensors'): (tmp_path/name).write_text('{}')
    with pytest.raises(BadInput, match='its weights lie in several files.*max_shard_size'): classifier(f'hf/{tmp_path}', None)

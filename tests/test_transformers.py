"Image classifiers of transformers from folders: the contract from their image processors, classes by name, a study without a network."
import os

import numpy as np, pytest, torch
from PIL import Image

from aeclf.classifiers import classifier, comes_trained, named_classifiers
from aeclf.data import synsets
from aeclf.store import BadInput, digest, save_weights, seeded
from conftest import aeclf, one_line

transformers = pytest.importorskip('transformers')
T = transformers
TINY = {
    'vit': (lambda **kw: T.ViTForImageClassification(T.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8, **kw)),
            lambda: T.ViTImageProcessor(size={'height': 32, 'width': 32}, image_mean=[0.5, 0.4, 0.3], image_std=[0.2, 0.25, 0.3])),
    'convnext': (lambda **kw: T.ConvNextForImageClassification(T.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, patch_size=2, image_size=32, **kw)),
                 lambda: T.ConvNextImageProcessor(size={'shortest_edge': 48}, crop_pct=0.875)),
    'resnet': (lambda **kw: T.ResNetForImageClassification(T.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type='basic', **kw)),
               lambda: T.ConvNextImageProcessor(size={'shortest_edge': 32}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])),
    'swin': (lambda **kw: T.SwinForImageClassification(T.SwinConfig(image_size=32, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, **kw)),
             lambda: T.ViTImageProcessor(size={'height': 32, 'width': 32})),
    'mobilevit': (lambda **kw: T.MobileViTForImageClassification(T.MobileViTConfig(image_size=32, hidden_sizes=[8, 12, 16], neck_hidden_sizes=[4, 4, 8, 8, 8, 8, 16], num_attention_heads=2, **kw)),
                  lambda: T.MobileViTImageProcessor(size={'shortest_edge': 36}, crop_size={'height': 32, 'width': 32})),
}
NAMES = ['chelsea', 'coffee']


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    "Each of the networks, random, in a folder under its name; they number the classes the other way round."
    root = tmp_path_factory.mktemp('hf')
    for name, (net, processor) in TINY.items():
        with seeded(0):
            made = net(id2label=dict(enumerate(NAMES[::-1])), label2id={n: k for k, n in enumerate(NAMES[::-1])})
            for m in made.modules():
                if isinstance(m, torch.nn.BatchNorm2d): m.momentum = 1   # they know what is usual, else deep networks fade out
            made.train()(torch.rand(8, 3, 32, 32))
        made.save_pretrained(root/name)
        processor().save_pretrained(root/name)
    return root


@pytest.mark.parametrize('name', TINY)
def test_the_contract_is_that_of_the_image_processor(folders, name):
    "Our logits of a tensor in [0, 1] are those of the processor and the network; a gradient reaches the image."
    model = classifier(f'hf/{folders/name}', None).eval()
    net = T.AutoModelForImageClassification.from_pretrained(folders/name).eval()
    processor = T.AutoImageProcessor.from_pretrained(folders/name)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (model.size, model.size, 3), dtype=np.uint8))
    x = torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1)[None]/255
    with torch.no_grad(): theirs = net(**processor(images=picture, return_tensors='pt', do_resize=False, do_center_crop=False)).logits
    assert torch.allclose(model(x), theirs, atol=1e-4)
    assert comes_trained(model) and model.classes == NAMES[::-1] and model.size in (32, 48)
    model.requires_grad_(False)
    model(x.requires_grad_()).sum().backward()
    assert x.grad.abs().max() > 0


def test_random_where_random_is_asked_for_and_filled_from_a_file(folders, tmp_path):
    own = classifier(f'hf/{folders/"vit"}', None)
    save_weights(tmp_path/'vit.safetensors', own)
    with seeded(1): random = classifier(f'hf/{folders/"vit"}', None, weights='')
    assert digest(classifier(f'hf/{folders/"vit"}', None, weights=tmp_path/'vit.safetensors')) == digest(own) != digest(random)
    assert comes_trained(own) and not comes_trained(random)


def test_what_is_no_image_classifier_is_refused(folders, tmp_path, monkeypatch):
    T.ViTModel(T.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8)).save_pretrained(tmp_path/'headless')
    (tmp_path/'empty').mkdir()
    TINY['vit'][0]().save_pretrained(tmp_path/'alone')
    for folder, word in (('headless', 'classifier.bias is missing in its weights'), ('empty', 'cannot be read'), ('alone', 'cannot be read')):
        with pytest.raises(BadInput, match=word): classifier(f'hf/{tmp_path/folder}', None)


def test_a_folder_wins_over_the_hub_and_that_is_said(folders, monkeypatch):
    monkeypatch.chdir(folders.parent)
    assert classifier(f'hf/{folders.name}/vit', None).notes == [f"hf/{folders.name}/vit is the folder here, not the hub's {folders.name}/vit"]


def test_a_study_without_a_network(folders, pictures, tmp_path, monkeypatch):
    "Four families read a folder whose classes they number the other way round; one is given random weights for a control."
    names = ','.join(f'hf/{folders/name}' for name in ('vit', 'convnext', 'resnet', 'swin'))
    result = aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', '--classifiers', names, '--size', '32', '--epochs', '1,1,1', '--controls', '--out', 'study')
    assert result.returncode == 0, result.stderr
    assert f'vit (trained, came from hf/{folders}/vit)' in result.stdout and result.stdout.count('the 2 classes of the data are matched by name with its 2') == 4
    from aeclf.study import Study
    study = Study.open(tmp_path/'study', 'cpu')
    images, labels = study.images.valid.one_batch()
    for name in study.config.classifiers:
        own = classifier(f'hf/{folders/name}', None).eval()
        model = study.classifier(name)
        assert digest(model) == digest(own) and study.classes(name) == NAMES
        with torch.no_grad(): assert torch.allclose(model(images), own(images).flip(1), atol=1e-5)
    assert digest(study.initial('vit', trained=False)) != digest(study.initial('vit'))
    monkeypatch.chdir(folders)
    one_line(aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', '--classifiers', 'hf/nowhere', '--out', 'other'), "'hf/nowhere': no such folder, and not ORG/NAME")


@pytest.mark.parametrize('name', ['hf/my/vit', 'hf/my/vit/', 'hf/./my/vit//'])
def test_a_folder_may_end_with_a_slash(folders, tmp_path, monkeypatch, name):
    import shutil
    shutil.copytree(folders/'vit', tmp_path/'my'/'vit')
    monkeypatch.chdir(tmp_path)
    assert named_classifiers(name) == {'vit': name}
    assert digest(classifier(name, None)) == digest(classifier(f'hf/{folders/"vit"}', None))


def test_a_folder_is_known_by_what_is_in_it(folders, pictures, tmp_path, monkeypatch):
    "A study is opened from elsewhere and reads the same network; another configuration in its place is refused, and what has changed is said."
    import shutil
    from aeclf.study import Study
    here = tmp_path/'here'
    shutil.copytree(folders/'vit', here/'my'/'vit')
    run = lambda: aeclf(here, 'run', '--data', f'folder:{pictures}', '--classifiers', 'hf/my/vit', '--size', '32', '--epochs', '1,1,1', '--out', 'study')
    assert run().returncode == 0
    monkeypatch.chdir(tmp_path)
    study = Study.open(here/'study', 'cpu', say=lambda line: None)
    assert digest(study.classifier('vit')) == digest(classifier(f'hf/{folders/"vit"}', None))
    with open(here/'my'/'vit'/'config.json', 'a') as f: f.write('\n')
    one_line(run(), 'my/vit/config.json has changed since this study began')

"The check is the run: what a network does before it is trained, what its message says, and what is asked of whatever carries it."
import warnings
from dataclasses import replace

import pytest, timm, torch, torchvision
import torch.nn.functional as F
from torch import nn

from aeclf.classifiers import Classifier, as_classifier
from aeclf.composite import try_network
from aeclf.config import read_config
from aeclf.crosseval import cross_evaluate
from aeclf.segnet import SegNet
from aeclf.stages import run_stages
from aeclf.store import BadInput, digest, seeded, unknown, weights_meta
from aeclf.study import Config, Study, accept
from conftest import aeclf, one_line

SIZE, K = 32, 2
TINY = replace(Config(classifiers={}, size=SIZE, widths=(4, 8), convs=(1, 1), epochs=dict(classifiers=1, autoencoder=1, decoders=1), panels=1))
IMAGES = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


class Colours(torch.utils.data.Dataset):
    "Noise, redder or bluer."
    vocab = ['red', 'blue']
    def __init__(self, n, stats=None): self.n, self.stats = n, stats
    def __len__(self): return self.n
    def __getitem__(self, i):
        x = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(i))*0.6
        x[2*(i % 2)] += 0.4
        return ((x-0.5)/0.25 if self.stats else x), i % 2


class Forward(nn.Module):
    "Whatever `forward` makes of mean colours or of images, then a linear layer."
    def __init__(self, forward, n=3, k=K): super().__init__(); self.of, self.head = forward, nn.Linear(n, k)
    def forward(self, x): return self.head(self.of(x))


class View(nn.Module):
    "Convolutions and the `view` of many a tutorial; as `view=lambda x: …` wants it."
    def __init__(self, view=lambda x: x.view(x.size(0), -1), edge=SIZE, channels=3, k=K):
        super().__init__()
        self.view, self.conv, self.head = view, nn.Conv2d(channels, 4, 4, 4), nn.Linear(4*(edge//4)**2, k)
    def forward(self, x): return self.head(self.view(F.relu(self.conv(x))))


def colours(x): return x.mean((2, 3))
def sequence(*layers): return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *layers)
def normed(**kw): return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.BatchNorm2d(4, **kw), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, K))
def spoilt(layer):
    net = sequence(nn.Linear(3, 3), nn.Linear(3, K))
    net[layer].bias.data[0] = float('nan')
    return net
def tried(net, **kw): return try_network(Classifier(net, 0., 1., **kw), IMAGES, K, 'it')


RUNS = {'convolutions': (normed, True), 'view': (View, False), 'scripted': (lambda: torch.jit.script(normed()), True),
        'traced': (lambda: torch.jit.trace(normed().eval(), IMAGES), True), 'scripted view': (lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, K, SIZE), nn.Flatten())), True),
        'three dimensions': (lambda: nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 4, (3, 4, 4), (1, 4, 4)), nn.Flatten(), nn.Linear(4*64, K)), False),
        'a map of one pixel': (lambda: nn.Conv2d(3, K, SIZE), True), 'squeezes': (lambda: Forward(lambda x: F.adaptive_avg_pool2d(x, 1).squeeze()), True),
        'log-softmax': (lambda: sequence(nn.Linear(3, K), nn.LogSoftmax(1)), True), 'a fresh head of zeros': (lambda: nn.Sequential(normed(), nn.Linear(K, K)), True),
        'dropout': (lambda: sequence(nn.Dropout(), nn.Linear(3, K)), True), 'a tuple': (lambda: Answers(lambda z: (z, z)), True), 'frozen by its maker': (lambda: normed().requires_grad_(False), True)}


class Answers(nn.Module):
    def __init__(self, form): super().__init__(); self.form, self.head = form, sequence(nn.Linear(3, K))
    def forward(self, x): return self.form(self.head(x))


@pytest.mark.parametrize('name', RUNS)
def test_what_runs_is_taken(name):
    "As it was afterwards: weights, modes, gradients; and nobody's draws have moved."
    make, fast = RUNS[name]
    with seeded(0): model = Classifier(make(), 0., 1.)
    if 'zeros' in name: nn.init.zeros_(model.net[-1].weight)
    before = digest(model), [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]
    state = torch.get_rng_state()
    trial = try_network(model, IMAGES, K)
    assert (trial.channels_last, trial.remarks) == (fast, []) and torch.equal(torch.get_rng_state(), state)
    assert (digest(model), [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]) == before


REFUSED = [ # what the message holds, and the network
    ('it reads one channel; let its forward begin with x = x.mean(1', lambda: View(channels=1)),
    ('it reads 4 channels, images have 3', lambda: View(channels=4)),
    ('cannot read 32 pixels (', lambda: View(edge=64)),
    ('as_classifier(net, size=64)', lambda: View(edge=64)),
    ('as_classifier(net, size=28)', lambda: View(edge=28)),
    ('answers 2 images with (8, 2); let it answer with a row for each', lambda: View(lambda x: x.reshape(-1, 4*4*4), edge=16)),
    ('it reads one image at a time', lambda: View(lambda x: x.reshape(1, -1))),
    ('another dtype than its images', lambda: Forward(lambda x: colours(x).double())),
    ('is in float16, images are in float32; give model.float()', lambda: normed().half()),
    ("NaN or infinity, from layer '3' (Linear) on, which holds it in bias", lambda: spoilt(3)),
    ('from its normalisation on', lambda: Classifier(normed(), 0., 0.)),
    ('back to the image, before its first layer', lambda: Forward(lambda x: (colours(x)*0).sqrt())),
    ('leads no gradient back', lambda: Forward(lambda x: colours(x).detach())),
    ('a gradient of zeros', lambda: Forward(lambda x: colours(x).round())),
    ("outputs='probabilities'", lambda: sequence(nn.Linear(3, K), nn.Softmax(1))),
    ('one number per image', lambda: sequence(nn.Linear(3, 1))),
    ('so it should be (2, 2)', lambda: sequence(nn.Linear(3, 7))),
    ('answers with a dictionary of a, b', lambda: Answers(lambda z: dict(a=z, b=z))),
    ("KeyError in layer '1' (Forward)", lambda: nn.Sequential(nn.Identity(), Forward(lambda x: {}['x']))),
    ('cannot read an image alone', lambda: sequence(nn.Linear(3, K), nn.BatchNorm1d(K, track_running_stats=False))),
    ('lazy layers', lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(K)))]


@pytest.mark.parametrize('words,make', REFUSED, ids=[words for words,_ in REFUSED])
def test_what_does_not_run_is_said_with_its_remedy(words, make):
    with seeded(0): net = make()
    with pytest.raises(BadInput) as e: try_network(net if isinstance(net, Classifier) else Classifier(net, 0., 1.), IMAGES, K, 'it')
    text = str(e.value)
    assert text.startswith(('it ', 'it: ')) and words in text and '\n' not in text and len(text) < 420
    assert '--size' not in text   # no larger size would help any of them


def test_a_larger_size_is_the_remedy_only_where_it_helps():
    pools = nn.Sequential(*[o for _ in range(6) for o in (nn.Conv2d(3, 3, 3, padding=1), nn.MaxPool2d(2))], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, K))
    with pytest.raises(BadInput, match='choose a larger --size, from 64 on'): tried(pools)


REMARKS = {'by chance': (lambda: Forward(lambda x: F.dropout(colours(x))), 'the forward of Forward'),
           'noise': (lambda: Forward(lambda x: colours(x)+torch.randn(3)), 'the forward of Forward'),
           'a whole batch': (lambda: normed(track_running_stats=False), "layer '1' (BatchNorm2d)"),
           'batch': (lambda: Forward(lambda x: colours(x)/colours(x).max()), 'the forward of Forward')}


@pytest.mark.parametrize('words', REMARKS)
def test_what_depends_on_more_than_the_image_is_said(words):
    make, where = REMARKS[words]
    with seeded(0): remark, = tried(make()).remarks
    assert where in remark and (words in remark or words == 'noise')


STATS = dict(mean=[0.5]*3, std=[0.25]*3)


class Processor:
    "An image processor: from 0 to 255 to -1 to 1, at 48 pixels."
    image_mean, image_std, resample = [0.5]*3, [0.5]*3, 3
    def __call__(self, images, return_tensors):
        import numpy as np
        return dict(pixel_values=torch.stack([torch.tensor(np.array(o.resize((48, 48)))) for o in images]).movedim(-1, 1)/127.5-1)


def vit(**kw): return timm.create_model('vit_tiny_patch16_224', num_classes=K, depth=1, **kw)
class Within(nn.Module):
    def __init__(self): super().__init__(); self.backbone, self.head = vit(), nn.Linear(K, K)
    def forward(self, x): return self.head(self.backbone(x))


def learner(ds, net=None, **said):
    "A Learner as its users make it, over torch's loaders; it is not trained."
    from fastai.learner import DataLoaders, Learner
    dls = DataLoaders(*[torch.utils.data.DataLoader(ds, 4) for _ in range(2)])
    for k,v in said.items(): setattr(dls, k, v)
    return Learner(dls, net or normed(), loss_func=nn.CrossEntropyLoss())


class Transformed(Colours):
    "Images through a transform that can be seen."
    def __init__(self, n, transform=None):
        super().__init__(n)
        from torchvision.transforms import v2
        self.transform, self.classes = transform or v2.Compose([v2.Identity(), v2.Normalize(**STATS)]), self.vocab
    def __getitem__(self, i): x, y = super().__getitem__(i); return self.transform(x), y


published = torchvision.models.ResNet18_Weights.DEFAULT.transforms
CONTRACTS = {'a network of timm': (lambda: as_classifier(vit()), 0.5, 224, 'bicubic'),
             'with another size': (lambda: as_classifier(vit(img_size=48)), 0.5, 48, 'bicubic'),
             'as a part': (lambda: as_classifier(Within()), 0.5, 224, 'bicubic'),
             'what is said counts first': (lambda: as_classifier(vit(), mean=0.25, std=1., size=48), 0.25, 48, 'bicubic'),
             'a processor': (lambda: as_classifier(normed(), processor=Processor()), 0.5, 48, 'bicubic'),
             'a pipeline': (lambda: as_classifier(type('Pipeline', (), dict(model=normed(), image_processor=Processor()))()), 0.5, 48, 'bicubic'),
             'loaders with a transform': (lambda: as_classifier(learner(Transformed(4)), Colours.vocab), 0.5, None, 'bilinear'),
             'loaders with what comes with weights': (lambda: as_classifier(learner(Transformed(4, published(**STATS))), Colours.vocab), 0.5, None, 'bilinear'),
             'part of a data set': (lambda: as_classifier(learner(torch.utils.data.Subset(Transformed(4), [0, 1])), Colours.vocab), 0.5, None, 'bilinear'),
             'loaders of images in [0, 1]': (lambda: as_classifier(learner(Colours(4), vocab=Colours.vocab), Colours.vocab), 0., None, 'bilinear'),
             'a Learner of timm': (lambda: as_classifier(learner(Transformed(4), vit())), 0.5, 224, 'bicubic'),
             'a Classifier, changed': (lambda: as_classifier(Classifier(normed(), 0.5, 0.5), size=48), 0.5, 48, 'bilinear')}


@pytest.mark.parametrize('name', CONTRACTS)
def test_whatever_knows_is_asked(name):
    make, mean, size, how = CONTRACTS[name]
    model = make()
    assert (model.mean.unique().tolist(), model.size, model.interpolation, model.assumed) == ([mean], size, how, False)


@pytest.mark.parametrize('name,words', [('nobody says', None), ('a file of ours', None), ('half of it', None)])
def test_what_nobody_says_is_remembered(name, words, tmp_path):
    from aeclf.store import save_weights
    save_weights(tmp_path/'v.safetensors', Classifier(normed(), 0.5, 0.5))
    models = {'nobody says': Classifier(normed()), 'half of it': Classifier(normed(), mean=0.5), 'a file of ours': Classifier(normed())}
    model = models[name]
    if name == 'a file of ours':
        from aeclf.store import load_weights
        load_weights(tmp_path/'v.safetensors', model)
    assert model.assumed == (name != 'a file of ours')


NO_NETWORK = [(lambda: learner(Colours(4, STATS)), 'do not say how they normalise; say it'),
              (lambda: (learner(Colours(4)), ['a']*3), "say its classes; say them in the order of its outputs, such as learn.dls.vocab = ['a'"),
              (lambda: 'resnet18', 'give the network itself'), (lambda: View, 'View is a class; make one of it'),
              (lambda: normed().state_dict(), 'weights are no network'), (lambda: len, 'is no classifier')]


@pytest.mark.parametrize('make,words', NO_NETWORK, ids=[words for _,words in NO_NETWORK])
def test_what_is_no_network_is_said(make, words, tmp_path):
    thing = make()
    with pytest.raises(BadInput, match=words.replace('[', r'\[')): as_classifier(*thing) if isinstance(thing, tuple) else as_classifier(thing)
    if isinstance(thing, tuple): return
    with pytest.raises(BadInput, match="network 'mine': "): Study(TINY, tmp_path/'s', 'cpu', networks={'mine': thing}, images=(Colours(8), Colours(8)))


def test_probabilities_become_logits_where_the_user_says_so(tmp_path):
    with seeded(0): plain = sequence(nn.Linear(3, K))
    soft = nn.Sequential(plain, nn.Softmax(1))
    logits, probabilities = (Classifier(net, 0., 1., outputs=o) for net,o in ((plain, None), (soft, 'probabilities')))
    assert torch.allclose(logits(IMAGES).softmax(1), probabilities(IMAGES).softmax(1), atol=1e-6)
    for outputs in ('logits', 'probabilities'): assert try_network(Classifier(soft, 0., 1., outputs=outputs), IMAGES, K).remarks == []
    names = [Study(TINY, tmp_path/'s', 'cpu', networks={'mine': o}, images=(Colours(8), Colours(8))).config.classifiers['mine'] for o in (Classifier(soft, 0., 1.), probabilities)]
    assert names[0] != names[1]   # it decides the result, so it belongs to the study


@pytest.fixture(scope='module')
def studies(tmp_path_factory):
    "Two studies of the same networks, one of them run in double precision by somebody who likes it."
    def run(name):
        with seeded(1): networks = dict(view=View(), half=normed().half(), moody=Forward(lambda x: F.dropout(colours(x))))
        study = Study(replace(TINY, classifiers={'V': 'small/vgg'}), tmp_path_factory.mktemp(name)/'s', 'cpu', controls=True, networks=networks, images=(Colours(16), Colours(9)))
        with warnings.catch_warnings(action='ignore'): study.prepare()
        measured = [s.name for s in study.stages].index('cross-evaluation')+1
        run_stages(study.ledger, study.stages[:measured], done=lambda *args: None)
        return study, networks
    single, networks = run('single')
    torch.set_default_dtype(torch.float64)
    try: double, _ = run('double')
    finally: torch.set_default_dtype(torch.float32)
    return single, double, networks


def test_a_default_dtype_changes_nothing(studies):
    single, double, _ = studies
    for name in ('V', 'view', 'half'): assert single.accuracy[name].equals(double.accuracy[name])
    assert digest(single.classifier('V')) == digest(double.classifier('V')) and digest(single.autoencoder('view')) == digest(double.autoencoder('view'))


def test_a_view_stays_contiguous_in_the_whole_study(studies):
    study, _, networks = studies
    assert {n: weights_meta(study.path/'classifiers'/f'{n}.safetensors').get('channels_last', True) for n in study.config.classifiers} == dict(V=True, view=False, half=True, moody=True)
    again = Study.open(study.path, 'cpu', networks=networks, images=study.handed_images, say=lambda words: None)
    assert again.classifier('view').net.conv.weight.is_contiguous() and not again.classifier('V').net[0][0].weight.is_contiguous()
    assert study.path.joinpath('provenance.json').read_text().count('but contiguous: view')


def test_notes_stand_in_the_study(studies):
    notes = (studies[0].path/'notes.txt').read_text()
    assert "classifier 'moody' answers by chance" in notes and "classifier 'view' is normalised with ImageNet's mean and std, as nobody says how" in notes
    assert "'V'" not in notes   # trained here, with what is assumed of it
    assert 'as nobody says how' in (studies[0].path/'provenance.json').read_text()


def test_by_hand_a_view_trains_and_is_measured():
    "With the learners and `cross_evaluate` themselves, behind the contract and bare."
    from aeclf.composite import Composite
    from aeclf.data import dataloaders
    from aeclf.training import classifier_learner, composite_learner
    dls = dataloaders(Colours(8), Colours(4), 4, 'cpu')
    for net in (View(), Classifier(View(), 0., 1.)):
        with seeded(0): auto = SegNet((4, 8), (1, 1))
        classifier_learner(dls, net).quietly().fit_poly(1, 1e-3)
        composite_learner(dls, Composite(auto, net)).quietly().fit_poly(1, 1e-3)
        result = cross_evaluate(auto.encoder, {'S': auto.decoder.to(memory_format=torch.channels_last)}, {'mine': net}, dls.valid)
        assert result.ranks.shape == (2, 1, 4)


class Otherwise(Colours):
    "The same as doubles of a graph, with labels of torch."
    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x.double().requires_grad_(), torch.tensor(y)


def test_images_that_are_held_otherwise_make_the_same_study(tmp_path):
    with seeded(0): network = Classifier(View(), 0., 1.)
    one, other = (Study(TINY, tmp_path/kind.__name__, 'cpu', networks={'mine': network}, images=(kind(16), kind(9))) for kind in (Colours, Otherwise))
    for study in (one, other): study.run()
    assert one.config == other.config and one.accuracy.equals(other.accuracy) and digest(one.autoencoder('mine')) == digest(other.autoencoder('mine'))
    assert other.panel(0)


def test_a_study_of_before_knows_labels_of_torch_again(tmp_path):
    "Its file has the digest of how they are written."
    with seeded(0): handed = dict(networks={'mine': Classifier(View(), 0., 1.)}, images=(Otherwise(8), Otherwise(8)))
    Study(TINY, tmp_path/'s', 'cpu', **handed).prepare()
    written = b''.join(x.detach().float().numpy().tobytes()+f'tensor({y})'.encode() for x, y in map(Otherwise(8).__getitem__, range(8)))
    toml, older = tmp_path/'s'/'study.toml', f'given:{digest(written)[:16]}'
    toml.write_text(toml.read_text().replace(read_config(toml).data, older))
    accept(tmp_path/'s', ['study.toml'])
    for study in (Study(TINY, tmp_path/'s', 'cpu', **handed), Study.open(tmp_path/'s', 'cpu', **handed)): assert study.config.data == older
    with pytest.raises(BadInput, match='another configuration .data is'): Study(TINY, tmp_path/'s', 'cpu', **handed | dict(images=(Colours(8), Colours(8))))


@pytest.mark.parametrize('option,value,words', [
    ('--classifiers', 'timm/zzzzqqq', 'see aeclf networks WORD'), ('--classifiers', 'torchvision/zzzzqqq', 'see aeclf networks WORD'),
    ('--classifiers', 'zzzz/qqq', 'FILE.py:FUNCTION'), ('--classifiers', 'Z', 'L, A, V, I, R'), ('--data', 'zzzz', 'folder:PATH'), ('--preset', 'zzzz', 'FILE.toml')])
def test_a_list_is_no_longer_than_a_line(option, value, words, tmp_path, pictures):
    data = [] if option == '--data' else ['--data', f'folder:{pictures}']
    result = aeclf(tmp_path, 'run', *data, option, value, '--size', 32, '--out', 'study')
    one_line(result, words)
    assert len(result.stderr) < 400


def test_lists_of_any_registry():
    for choices in ([], ['one'], [f'{k}'*30 for k in range(50)], [f'name{k}' for k in range(5000)]): assert len(str(unknown('thing', 'zzzz', choices))) < 300


def test_the_command_names_the_classifier_by_its_short_name(tmp_path, pictures):
    nets = 'from torch import nn\ndef grey(k): return nn.Sequential(nn.Conv2d(1, k, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n'
    nets += 'def soft(k): return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, k), nn.Softmax(1))\n'
    (tmp_path/'nets.py').write_text(nets)
    run = lambda name, *more: aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', '--classifiers', f'mine=nets.py:{name}', '--size', 32, '--quick', '--out', name, *more)
    one_line(run('grey'), "classifier 'mine' (nets.py:grey) cannot read 32 pixels", 'it reads one channel')
    one_line(run('soft'), "classifier 'mine'", "outputs='probabilities'")
    assert not (tmp_path/'grey').exists()


def test_lazy_and_double_networks_of_a_file_are_made_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'nets.py').write_text('from torch import nn\ndef lazy(k): return nn.Sequential(nn.Flatten(), nn.LazyLinear(k))\ndef double(k): return lazy(k).double()\n')
    study = Study(replace(TINY, classifiers=dict(a='nets.py:lazy', b='nets.py:double')), tmp_path/'s', 'cpu', images=(Colours(8), Colours(8))).check()
    for name in 'ab': assert study.initial(name).net[1].weight.shape == (K, 3*SIZE**2) and study.initial(name).net[1].weight.dtype == torch.float32

"Narrow doors: weights of every kind go in and come out, whatever wraps them, and networks are copied with all that they carry."
import os, subprocess, sys, warnings
import pytest, torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations, prune

from aeclf.classifiers import Classifier, classifier
from aeclf.config import configure
from aeclf.store import BadInput, copied, digest, fill, load_weights, read_tensors, save_weights, seeded
from aeclf.study import Study
from conftest import aeclf, one_line

NETS = '''import torch
from torch import nn
def make(k): return nn.Sequential(nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, k))
def parallel(k): return nn.DataParallel(make(k))
class Named(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.features, self.fc = make(7), nn.Linear(7, k)
    def forward(self, x): return self.fc(self.features(x))
class Normalising(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.register_buffer('mean', torch.rand(3))
        self.std, self.net = nn.Parameter(torch.rand(1, 3, 1, 1)+1), make(k)
    def forward(self, x): return self.net((x-self.mean[:, None, None])/self.std)
def meta(k):
    with torch.device('meta'): return make(k)
'''


@pytest.fixture(scope='module')
def nets(tmp_path_factory):
    "A file of networks, and what is in it."
    path, held = tmp_path_factory.mktemp('nets')/'nets.py', {}
    path.write_text(NETS)
    exec(NETS, held)
    return path, held


def prefixed(*prefixes): return lambda state: {''.join(prefixes)+k: v for k, v in state.items()}
def inside(part, wrapper): return lambda state: {k.replace(f'{part}.', f'{part}.{wrapper}.', 1) if k.startswith(part) else k: v for k, v in state.items()}
def in_dtype(dtype): return lambda state: {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
LAYOUTS = {
    'plain': dict, 'DataParallel': prefixed('module.'), 'compiled': prefixed('_orig_mod.'), 'Lightning': lambda s: {'state_dict': prefixed('model.')(s)}, 'net': prefixed('net.'),
    'all of them': prefixed('model.', 'module.', '_orig_mod.', 'net.', 'module.'), 'a part in DataParallel': inside('features', 'module'), 'a compiled part': inside('features', '_orig_mod'),
    'under another key': lambda s: {'net': s, 'acc': 91.2}, 'deep': lambda s: {'epoch': 3, 'student': {'module': s}, 'optimizer': {'state': {0: s}, 'param_groups': []}},
    'beside a model that is none': lambda s: {'model': {'name': 'mine'}, 'params': s}, 'float16': in_dtype(torch.float16), 'bfloat16': in_dtype(torch.bfloat16), 'float64': in_dtype(torch.float64)}


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('function', ['make', 'Named', 'Normalising', 'parallel'])
def test_layouts_of_weights(nets, tmp_path, layout, function):
    "Each file fills each network with the very values; what was read without its wrappers is said."
    path, held = nets
    with seeded(1): theirs = held[function](5)
    state = in_dtype(torch.float16)(theirs.state_dict())   # what a half can hold, every dtype here can
    theirs.load_state_dict(state)
    laid_out = LAYOUTS[layout](state)
    torch.save(laid_out, tmp_path/'w.pth')
    model = classifier(f'{path}:{function}', 5, 64, tmp_path/'w.pth')
    rounded = in_dtype(torch.bfloat16)(state) if layout == 'bfloat16' else state
    assert digest(model.net) == digest(fill(held[function](5), rounded, 'here'))
    same_names = read_tensors(tmp_path/'w.pth').keys() == state.keys()
    assert len(model.notes) == (not same_names) and all('is read as' in note for note in model.notes)


@pytest.mark.parametrize('function', ['make', 'Named', 'Normalising', 'parallel'])
def test_our_own_files(nets, tmp_path, function):
    "Of the network, of the classifier around it, with and without metadata of ours."
    path, held = nets
    with seeded(1): theirs = Classifier(held[function](5), mean=0.25, std=0.5)
    save_weights(tmp_path/'whole.safetensors', theirs)
    save_weights(tmp_path/'bare.safetensors', theirs.net, classes=list('abcde'))
    save_file(theirs.net.state_dict(), tmp_path/'foreign.safetensors')
    torch.save(theirs.state_dict(), tmp_path/'whole.pth')
    for name in ('whole.safetensors', 'bare.safetensors', 'foreign.safetensors', 'whole.pth'):
        model = classifier(f'{path}:{function}', 5, 64, tmp_path/name)
        assert digest(model.net) == digest(theirs.net) and not model.notes, name
        assert model.mean.unique().tolist() == [0.25] if 'whole' in name else model.mean[0, 0] != 0.25
        with pytest.raises(BadInput, match=f'{name}: .* for 5 classes, 3 are wanted'): classifier(f'{path}:{function}', 3, 64, tmp_path/name)


@pytest.mark.parametrize('held, words', [
    ({'generator': {'w': torch.ones(1)}, 'critic': {'w': torch.ones(1)}}, r'under several keys \(generator, critic\); save the ones that are meant alone'), ({'acc': 0.9}, 'no tensors in it'),
    ({'state_dict': {}}, 'no tensors in it'), ([torch.ones(1)], 'no tensors in it'), (torch.ones(1), 'no tensors in it'), ({'module.0.weight': torch.ones(8, 3, 5, 5)}, r'tensors are missing, first 0.bias')])
def test_files_that_do_not_say_what_is_meant(nets, tmp_path, held, words):
    torch.save(held, tmp_path/'w.pth')
    with pytest.raises(BadInput, match=words): classifier(f'{nets[0]}:make', 2, 64, tmp_path/'w.pth')


class Extra(nn.Module):
    "A layer with a state that is no tensor."
    def __init__(self, extra=None):
        super().__init__()
        self.layer, self.extra = nn.Linear(2, 2), extra

    def get_extra_state(self): return self.extra
    def set_extra_state(self, state): self.extra = state


class OnlyGets(Extra):
    "It tells a state and takes none."
    set_extra_state = nn.Module.set_extra_state


def buffered(value):
    net = nn.Linear(2, 2)
    net.register_buffer('held', value)
    return net

def quantised():
    if not hasattr(torch.ao, 'quantization'): pytest.skip('torch quantises no longer')
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear})

def packed():
    if not hasattr(torch.ao, 'quantization'): pytest.skip('torch quantises no longer')
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.LSTM(4, 4)), {nn.LSTM})

def weight_norm(): return nn.utils.weight_norm(nn.Linear(4, 4))
def spectral_norm(): return nn.utils.spectral_norm(nn.Linear(4, 4))
def pruned(): return prune.l1_unstructured(nn.Linear(4, 4), 'weight', 0.5)
STATES = {'nothing': None, 'a version': {'version': 1}, 'tensors': [torch.rand(2), (torch.zeros(1, dtype=torch.bfloat16), 'x')], 'a set': {1, 'two', None}, 'a dtype': torch.float16}
DTYPES = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu, torch.complex64, torch.complex32, torch.bool, torch.uint16, torch.int8, torch.float64]
KINDS = [*(lambda d=d: buffered((torch.rand(3)*9).to(d)) for d in DTYPES), *(lambda o=o: Extra(o) for o in STATES.values()), lambda: OnlyGets({'version': 2}), lambda: buffered(torch.tensor([1+2j]).conj()),
         lambda: buffered(torch.eye(3).to_sparse()), lambda: buffered(torch.rand(())), lambda: buffered(torch.rand(0, 3)), lambda: buffered(torch.rand(4, 3).T), quantised, packed, weight_norm, spectral_norm, pruned,
         lambda: parametrizations.weight_norm(nn.Linear(4, 4)), lambda: parametrizations.spectral_norm(nn.Linear(4, 4)), lambda: parametrizations.orthogonal(nn.Linear(4, 4))]


@pytest.mark.parametrize('make', KINDS)
def test_every_kind_of_tensor_is_digested_copied_and_stored(make, tmp_path):
    "Two networks have two digests; a copy, and a network filled from the file, have the digest of their origin. The same weights are the same bytes."
    with warnings.catch_warnings(action='ignore'):
        with seeded(1): one = make()
        with seeded(2): other = make()
        assert digest(one) == digest(copied(one)) != digest(other)
        if make is packed: return   # no file of tensors holds it, and no gradient comes back through it
        save_weights(tmp_path/'one.safetensors', one)
        save_weights(tmp_path/'again.safetensors', copied(one))
        assert (tmp_path/'one.safetensors').read_bytes() == (tmp_path/'again.safetensors').read_bytes()
        assert digest(load_weights(tmp_path/'one.safetensors', other)) == digest(one)


SETS = """
import hashlib, sys
from torch import nn
from aeclf.store import load_weights, save_weights
class Extra(nn.Linear):
    def get_extra_state(self): return self.state
    def set_extra_state(self, state): self.state = state
def made(state):
    net = Extra(1, 1)
    nn.init.zeros_(net.weight), nn.init.zeros_(net.bias)
    net.state = state
    return net
held = {'names': {f'name {k}' for k in range(9)}, 'pairs': [frozenset([1, None]), ({('a', 2)}, {})]}
save_weights('weights.safetensors', made(held))
assert load_weights('weights.safetensors', made({})).state == held
print(hashlib.sha256(open('weights.safetensors', 'rb').read()).hexdigest())
"""


def test_sets_are_the_same_bytes_in_every_process(tmp_path):
    def digest_with(seed): return subprocess.run([sys.executable, '-c', SETS], cwd=tmp_path, env={**os.environ, 'PYTHONHASHSEED': seed}, capture_output=True, text=True, check=True).stdout
    assert digest_with('1') == digest_with('2') == digest_with('3')


def test_extra_states_differ_and_those_that_nobody_can_read_are_named():
    same = {'layer.weight': torch.zeros(2, 2), 'layer.bias': torch.zeros(2)}   # without the states, which each keeps
    assert len({digest(fill(Extra(state), same, 'here')) for state in STATES.values()}) == len(STATES)
    with pytest.raises(BadInput, match='_extra_state holds something of type object; let get_extra_state return numbers'): digest(Extra({'made by': object()}))


class Laden(nn.Module):
    "A network of a tutorial: hooks, kept features, an older weight norm, an extra state, and numbers in bfloat16."
    def __init__(self):
        super().__init__()
        with warnings.catch_warnings(action='ignore'): self.conv, self.head = nn.utils.weight_norm(nn.Conv2d(3, 4, 5, 4)), parametrizations.weight_norm(nn.Linear(4, 2))
        self.register_buffer('shift', torch.zeros(1, dtype=torch.bfloat16))
        self.seen, self.features = [], None
        self.conv.register_forward_hook(self.keep)
        self.conv.register_forward_hook(lambda module, args, out: out.relu())
        self.register_forward_pre_hook(lambda module, args: (args[0]*2,))

    def keep(self, module, args, out): self.features = out
    def get_extra_state(self): return {'version': 1}
    def set_extra_state(self, state): self.version = state['version']
    def forward(self, x): return self.head((self.conv(x)+self.shift.float()).mean((2, 3)))


def test_a_laden_network_goes_through_a_study(pictures, tmp_path):
    "It is left as it was, the study ends, opens with it and is found finished, and its classifier answers as the network does."
    with seeded(0): net, x = Laden().eval(), torch.rand(2, 3, 32, 32)
    expected, before = net(x), digest(net)
    config = configure(f'folder:{pictures}', classifiers='R', size=32, quick=True)
    study = Study(config, tmp_path/'study', 'cpu', networks={'laden': Classifier(net, 0., 1.)}, controls=True)
    study.run(done=lambda *args: None)
    assert digest(net) == before and torch.equal(net(x), expected) and net.features is not None
    opened = Study.open(tmp_path/'study', 'cpu', networks={'laden': Classifier(net, 0., 1.)})
    assert opened.run(done=lambda *args: None) == [] and opened.controls
    assert torch.allclose(opened.classifier('laden')(x), expected, atol=1e-6)
    assert digest(opened.autoencoder('N_laden').decoder) != digest(opened.autoencoder('S').decoder)


def test_the_command_reads_prefixed_weights_and_says_so(nets, pictures, tmp_path):
    path, held = nets
    with seeded(0): torch.save(prefixed('module.', '_orig_mod.')(held['make'](2).state_dict()), tmp_path/'w.pth')
    run = lambda name: aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', '--classifiers', name, '--size', '32', '--epochs', '1,1,1', '--out', 'study')
    for name in (f'mine={path}:meta', f'mine={path}:meta:{tmp_path}/w.pth'): one_line(run(name), "'mine'", '0.weight is on the meta device')
    result = run(f'mine={path}:make:{tmp_path}/w.pth')
    assert result.returncode == 0, result.stderr
    assert "classifier 'mine': module._orig_mod.0.weight is read as 0.weight" in result.stdout

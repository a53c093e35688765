"Random means random: whatever network is begun anew, tensor by tensor; and the control behind it reads signals of the usual size."
import warnings
import pytest, timm, torch, torchvision
from torch import nn
from torch.nn.utils import parametrizations, prune

from aeclf.recipes import calibrate
from aeclf.segnet import begun_at_random, reinitialized
from aeclf.store import BadInput, copied, digest, seeded

FAMILIES = ['test_resnet', 'test_vit', 'test_convnext', 'test_byobnet', 'mixer_s32_224', 'resmlp_12_224', 'mobilenetv3_small_050', 'regnetx_002', 'pvt_v2_b0', 'coat_lite_tiny', 'crossvit_tiny_240',
            'xcit_nano_12_p16_224', 'levit_128s', 'edgenext_xx_small', 'hgnetv2_b0', 'repvgg_a0']


def filled(net):
    "The network with normal numbers in every parameter, and statistics that it has seen."
    with torch.no_grad(), seeded(1):
        for p in net.parameters():
            p.copy_(torch.randn(p.shape))
        for name, b in net.named_buffers():
            if name.endswith(('running_mean', 'running_var')): b.copy_(torch.rand(b.shape)+2)
            if name.endswith('num_batches_tracked'): b.fill_(7)
    return net


def begun_anew(net):
    "The network begun anew, after a look at every tensor: none is what it was, all are finite, and statistics have their start."
    before = copied(net)
    with seeded(2): fresh = reinitialized(net)
    assert digest(net) == digest(before)   # the network itself stays what it is
    old = dict(net.named_parameters())
    kept = [name for name, p in fresh.named_parameters() if torch.equal(p.float(), old[name].float())]
    assert not kept and all(p.float().isfinite().all() for p in fresh.parameters())
    start = {'running_mean': 0, 'running_var': 1, 'num_batches_tracked': 0}
    for name, b in fresh.named_buffers():
        if (last := name.rpartition('.')[2]) in start: assert (b == start[last]).all(), name
    return fresh


def gradient(net, size):
    "What comes back to an image from the logits of a network, calibrated on one batch."
    with seeded(3): batch, x = torch.rand(3, 3, size, size), torch.rand(1, 3, size, size)
    calibrate(net, iter([batch]), most=1)
    nn.functional.cross_entropy(net(x.requires_grad_()), torch.tensor([1])).backward()
    return x.grad


@pytest.mark.parametrize('name', FAMILIES)
def test_a_timm_family_begins_anew(name):
    net = filled(timm.create_model(name, num_classes=5))
    fresh = begun_anew(net)
    with seeded(4): new = dict(timm.create_model(name, num_classes=5).named_parameters())
    for norm, m in fresh.named_modules():
        if not isinstance(m, nn.modules.batchnorm._BatchNorm): continue
        for k, p in m.named_parameters(prefix=norm): assert (p == p[0]).all() and (k.endswith('weight') or not p.any()) or new[k].std() > 0, k   # RepVGG draws them
    matrices = [(name, p) for name, p in fresh.named_parameters() if sum(n > 1 for n in p.shape) > 1]
    assert all(p.std() > 0 for _, p in matrices)   # a last layer of zeros would pass nothing back
    grad = gradient(fresh, net.pretrained_cfg['input_size'][-1])
    assert grad.isfinite().all() and grad.abs().max() > 0


def test_over_twelve_families():
    assert len({timm.models._registry._model_to_module[name] for name in FAMILIES}) > 12


class Own(nn.Module):
    "Parameters of one's own, and a layer that knows how it begins."
    def __init__(self):
        super().__init__()
        self.w, self.b, self.gate, self.cls_token = nn.Parameter(torch.randn(2, 3, 8, 8)), nn.Parameter(torch.ones(2)), nn.Parameter(torch.tensor(3.)), nn.Parameter(torch.randn(1, 1, 16))
        self.layers = nn.ParameterList([nn.Parameter(torch.randn(4, 4)) for _ in range(2)])
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x): return self.gate*nn.functional.conv2d(self.norm(x), self.w, self.b, 8).mean((2, 3))


class FromItself(nn.Module):
    "A reset that begins with what was learnt, and one that asks for an argument."
    def __init__(self):
        super().__init__()
        self.learnt, self.linear = nn.Parameter(torch.randn(4, 4)), nn.Linear(4, 4)
        self.linear.reset_parameters = lambda gain: None

    def reset_parameters(self):
        with torch.no_grad(): self.learnt.mul_(0.5)


class Reloaded(nn.Linear):
    "A reset that puts learnt weights back."
    def reset_parameters(self):
        nn.Linear.reset_parameters(self)
        if hasattr(self, 'learnt'): self.load_state_dict(self.learnt)


def reloaded():
    net = filled(Reloaded(4, 4))
    net.learnt = {k: v.clone() for k, v in net.state_dict().items()}
    return net


def frozen_norms(): return nn.Sequential(nn.Conv2d(3, 4, 3), torchvision.ops.FrozenBatchNorm2d(4))
def convs(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4*36, 2))
def scripted(): return torch.jit.script(convs())
def traced(): return torch.jit.trace(convs().eval(), torch.rand(1, 3, 8, 8))
def compiled(): return torch.compile(convs())
def pruned(): return prune.l1_unstructured(nn.Linear(8, 8), 'weight', 0.5)
def float8(): return nn.Linear(8, 8).to(torch.float8_e5m2)
def tied():
    net = nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 8))
    net[1].weight = net[0].weight
    return net


@pytest.mark.parametrize('make', [
    Own, FromItself, reloaded, frozen_norms, convs, scripted, traced, pruned, float8, tied, compiled, lambda: nn.DataParallel(convs()), lambda: torch.fx.symbolic_trace(convs()),
    lambda: nn.TransformerEncoderLayer(16, 2, 32), lambda: nn.MultiheadAttention(16, 2, add_bias_kv=True), lambda: nn.LSTM(4, 4), lambda: nn.Bilinear(4, 4, 4), lambda: convs().bfloat16(), lambda: convs().double(),
    lambda: nn.Linear(4, 4, dtype=torch.complex64), lambda: nn.utils.weight_norm(nn.Conv2d(3, 4, 3)), lambda: nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
    lambda: parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)), lambda: parametrizations.orthogonal(nn.Linear(4, 4)), lambda: torchvision.models.VisionTransformer(image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16)])
def test_every_kind_of_module_begins_anew(make):
    with warnings.catch_warnings(action='ignore'): begun_anew(make() if make is reloaded else filled(make()))


def test_scales_begin_at_one_and_offsets_at_zero():
    fresh = begun_anew(filled(Own()))
    assert fresh.gate == 1 and not fresh.b.any() and (fresh.norm.weight == 1).all() and not fresh.norm.bias.any()
    assert abs(fresh.w.std()-(3*64)**-0.5) < 0.02 and fresh.cls_token.std() < 0.1


def lazy(): return nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(2))
def meta():
    with torch.device('meta'): return convs()
def frozen(): return nn.Sequential(torch.jit.freeze(torch.jit.script(convs().eval())), nn.Linear(2, 2))
def whole_numbers():
    net = convs()
    net.order = nn.Parameter(torch.arange(2), requires_grad=False)
    return net
def quantised():
    if not hasattr(torch.ao, 'quantization'): pytest.skip('torch quantises no longer')
    return torch.ao.quantization.quantize_dynamic(convs(), {nn.Linear})


@pytest.mark.parametrize('make, words', [
    (lazy, 'has no shape before the first batch'), (meta, 'is on the meta device'), (frozen, 'its weights 0.c0 cannot be drawn anew'), (whole_numbers, 'its weights order cannot be drawn anew'),
    (quantised, 'its weights 4._packed_params'), (nn.Flatten, 'it has no parameters that could be drawn anew')])
def test_what_cannot_begin_anew_is_named(make, words):
    with warnings.catch_warnings(action='ignore'), pytest.raises(BadInput, match=words): reinitialized(make())


def test_a_function_that_loads_weights_begins_anew_and_any_other_is_left_as_it_is():
    learnt = filled(convs()).state_dict()
    def loaded():
        net = convs()
        net.load_state_dict(learnt)
        return net
    def seeded_make():
        torch.manual_seed(0)
        return convs()
    assert not torch.equal(begun_at_random(loaded)[0].weight, learnt['0.weight'])
    with seeded(5): made = convs()
    with seeded(5): assert digest(begun_at_random(convs)) == digest(made)
    assert digest(begun_at_random(seeded_make)) != digest(seeded_make())


class Dropped(nn.Module):
    "Dropout before a norm, and an answer of another kind in training."
    def __init__(self):
        super().__init__()
        self.drop, self.norm, self.head = nn.Dropout(0.5), nn.BatchNorm2d(3), nn.Linear(3, 2)

    def forward(self, x):
        if self.training: raise RuntimeError('only its norms are trained')
        return self.head(self.norm(self.drop(x)).mean((2, 3)))


@pytest.mark.parametrize('make', [Dropped, lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), lambda: nn.Sequential(nn.SyncBatchNorm(3), nn.Flatten())])
def test_statistics_are_those_of_the_images(make):
    with seeded(0): net, batches = make(), [torch.rand(8, 3, 8, 8)*torch.tensor([1., 2, 3])[:, None, None] for _ in range(60)]
    count = calibrate(net, iter(batches))
    seen = torch.stack(batches[:count])
    norm = next(m for m in net.modules() if isinstance(m, nn.modules.batchnorm._NormBase))
    assert 1 < count < 60 and not any(m.training for m in net.modules()) and norm.momentum == 0.1
    assert torch.allclose(norm.running_mean, seen.mean((0, 1, 3, 4)), atol=1e-5)
    assert torch.allclose(norm.running_var, seen.transpose(1, 2).flatten(2).var(2).mean(0), atol=1e-5)


def test_spectral_norms_and_scripts_are_calibrated_too():
    with seeded(0), warnings.catch_warnings(action='ignore'):
        spectral = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)))
        calibrate(spectral, iter([torch.rand(4, 3, 8, 8) for _ in range(100)]), settled=1e-4)
        for conv in spectral: assert abs(torch.linalg.matrix_norm(conv.weight.detach().flatten(1), 2)-1) < 0.02
        script = scripted()
        calibrate(script, iter([torch.rand(4, 3, 8, 8) for _ in range(100)]))
        out = script[1](script[0](torch.rand(64, 3, 8, 8)))
    assert (out.std()-1).abs() < 0.1 and out.mean().abs() < 0.1

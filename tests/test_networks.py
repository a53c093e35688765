"Networks of other people behind the contract: over twenty families of timm, torchvision's, and what the command line says of them."
import pytest, timm, torch, torchvision
import torch.nn.functional as F
from timm.data import create_transform, resolve_data_config
from timm.models import get_pretrained_cfg

from aeclf.classifiers import classifier
from aeclf.composite import Composite
from aeclf.segnet import SegNet
from aeclf.store import digest, save_weights, seeded
from conftest import aeclf, one_line

FAMILIES = ['resnet18', 'vit_tiny_patch16_224', 'deit3_small_patch16_224', 'mixer_s32_224', 'gmlp_s16_224', 'resmlp_12_224', 'convnext_atto', 'efficientnet_lite0',
            'mobilenetv3_small_050', 'regnetx_002', 'densenet121', 'maxvit_rmlp_pico_rw_256', 'ghostnet_050', 'mnasnet_small', 'swin_tiny_patch4_window7_224', 'pvt_v2_b0', 'coat_lite_tiny',
            'crossvit_tiny_240', 'edgenext_xx_small', 'poolformer_s12', 'levit_128s', 'xcit_nano_12_p16_224', 'repvgg_a0', 'dla46_c', 'hrnet_w18_small', 'rexnet_100',
            'cait_xxs24_224', 'mobilevit_xxs', 'hardcorenas_a', 'tinynet_e', 'lcnet_050']


def made(name, n_classes=5, edge=96):
    "An untrained network that has something to say: no last layer of zeros, as some begin, and batch norms that know what is usual, else deep ones fade out."
    with seeded(0):
        model = classifier(name, n_classes).eval()
        for p in model.parameters():
            if p.ndim > 1 and not p.any(): torch.nn.init.normal_(p, std=0.02)
        norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for m in norms: m.train().momentum = 1
        if norms:
            with torch.no_grad(): model(torch.rand(4, 3, edge, edge))
    return model.eval()


def test_over_twenty_families():
    assert len(FAMILIES) > 20 and len({timm.models._registry._model_to_module[name] for name in FAMILIES}) > 20


@pytest.mark.parametrize('name', FAMILIES)
def test_a_timm_family_behind_the_contract(name):
    "The logits are those of the network on its own normalisation; a gradient reaches the image; nothing of the network moves."
    model = made(f'timm/{name}')
    before, config = digest(model), resolve_data_config(pretrained_cfg=get_pretrained_cfg(name).to_dict())
    assert model.interpolation == config['interpolation']
    x = torch.rand(1, *config['input_size'], generator=torch.Generator().manual_seed(0))
    normalise = create_transform(**config, is_training=False).transforms[-1]
    with torch.no_grad(): theirs = model.net(normalise(x))
    x.requires_grad_()
    ours = model(x)
    assert ours.shape == (1, 5) and (ours-theirs).abs().max() < 1e-4
    F.cross_entropy(ours, torch.tensor([1])).backward()
    assert x.grad.isfinite().all() and x.grad.abs().max() > 0
    assert digest(model) == before


@pytest.mark.parametrize('name', ['timm/resnet18', 'timm/vit_tiny_patch16_224', 'timm/resmlp_12_224', 'timm/convnext_atto', 'timm/mobilevit_xxs', 'timm/levit_128s', 'torchvision/mobilenet_v3_small'])
def test_one_step_of_a_decoder_lowers_the_loss(name):
    "Images of 64 pixels, resized where the network wants another size; the network and the encoder stay as they were."
    model, (x, y) = made(name), (torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3]))
    with seeded(0): composite = Composite(SegNet((8, 16), (1, 1)), model).train_only('decoder')
    frozen = digest(composite.classifier), digest(composite.autoencoder.encoder)
    decoder = composite.autoencoder.decoder
    start = digest(decoder)
    optimiser = torch.optim.Adam(decoder.parameters(), 1e-3)
    loss = F.cross_entropy(composite(x), y)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in decoder.parameters())
    optimiser.step()
    with torch.no_grad(): assert F.cross_entropy(composite(x), y) < loss
    assert (digest(composite.classifier), digest(composite.autoencoder.encoder)) == frozen and digest(decoder) != start


@pytest.mark.parametrize('name', ['vit_b_32', 'swin_t', 'maxvit_t'])
def test_torchvisions_of_one_size_read_another(name):
    with torch.no_grad(): assert made(f'torchvision/{name}')(torch.rand(1, 3, 64, 64)).shape == (1, 5)


def test_weights_of_googlenet_lose_their_auxiliary_heads(tmp_path):
    whole = torchvision.models.googlenet(weights=None, num_classes=5, init_weights=False)
    torch.save(whole.state_dict(), tmp_path/'googlenet.pth')
    model = classifier('torchvision/googlenet', 5, 64, tmp_path/'googlenet.pth').eval()
    whole.eval().transform_input = True
    x = torch.rand(2, 3, 64, 64)
    normalise = torchvision.transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with torch.no_grad(): assert torch.allclose(model(x), whole(normalise(x)), atol=1e-4)


def test_networks_from_the_command_line(pictures, tmp_path, monkeypatch):
    "A trained timm network, a trained one of a file, an untrained one of torchvision: the trained ones stay what they are."
    save = lambda name, net: torch.save(net.state_dict(), tmp_path/name)
    with seeded(0): r18, own = timm.create_model('test_resnet', num_classes=2), torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(16, 2))
    save('r.pth', r18)
    save('own.pth', own)
    (tmp_path/'nets.py').write_text('from torch import nn\ndef make(n_classes):\n    return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, n_classes))\n')
    names = 'timm/test_resnet:r.pth,timm/test_vit,mine=nets.py:make:own.pth,torchvision/squeezenet1_1'
    result = aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', '--classifiers', names, '--size', '32', '--epochs', '1,1,1', '--out', 'study')
    assert result.returncode == 0, result.stderr
    from aeclf.study import Study
    monkeypatch.chdir(tmp_path)   # nets.py is named from here
    study = Study.open('study', 'cpu')
    assert digest(study.classifier('test_resnet').net) == digest(r18) and digest(study.classifier('mine').net) == digest(own)
    assert 'as it came from r.pth' in result.stdout and result.stdout.count('as it came') == 2
    assert list(study.accuracy.columns) == ['test_resnet', 'test_vit', 'mine', 'squeezenet1_1']


def test_class_counts_that_disagree_are_explained_before_any_work(pictures, tmp_path):
    with seeded(0): save_weights(tmp_path/'r18.safetensors', timm.create_model('resnet18', num_classes=1000))
    (tmp_path/'nets.py').write_text('from torch import nn\ndef make(n_classes): return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 10))\n')
    run = lambda names: aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', '--classifiers', names, '--size', '32', '--out', 'study')
    one_line(run('timm/resnet18:r18.safetensors'), 'r18.safetensors', 'for 1000 classes, 2 are wanted')
    one_line(run('nets.py:make'), 'nets.py:make', '(2, 10)', 'the data have 2 classes')
    assert not (tmp_path/'study').exists()

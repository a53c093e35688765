"The paper's networks at 224 pixels: shapes, one step of every learner, one cross-evaluation batch."
import copy

import pytest, torch

from aeclf.classifiers import SCALES, classifier
from aeclf.composite import Composite
from aeclf.crosseval import cross_evaluate
from aeclf.data import dataloaders
from aeclf.segnet import SegNet, reinitialized
from aeclf.store import digest, seeded
from aeclf.training import OPTIMIZERS, ae_learner, classifier_learner, composite_learner

K = 10


class Noise(torch.utils.data.Dataset):
    "`n` images of smooth noise: what is in them does not matter here, how large they are does."
    vocab = [str(k) for k in range(K)]

    def __init__(self, n): self.images = torch.nn.functional.interpolate(torch.rand(n, 3, 7, 7, generator=torch.Generator().manual_seed(0)), 224, mode='bilinear')
    def __len__(self): return len(self.images)
    def __getitem__(self, i): return self.images[i], i


@pytest.fixture(scope='module')
def dls(): return dataloaders(Noise(2), Noise(1), bs=2)


@pytest.fixture(scope='module')
def autoencoder():
    with seeded(0): return SegNet()


@pytest.fixture(scope='module')
def classifiers():
    with seeded(0): return {letter: classifier(name, K, 224) for letter,name in SCALES['full'].items()}


def one_step(learn):
    "An epoch of one batch: one step of the optimiser, by fastai's own loop."
    history = learn.quietly().fit_poly(1, 1e-3)
    assert len(history) == 2 and history.train_loss.notna()[1]


def test_shapes(autoencoder, classifiers):
    x = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        z,indices = autoencoder.eval().encoder(x)
        assert z.shape == (1, 512, 7, 7) and [i.shape[-1] for i in indices] == [112, 56, 28, 14, 7]
        assert autoencoder.decoder(z, indices).shape == x.shape
        for model in classifiers.values(): assert model.eval()(x).shape == (1, K)
    assert classifiers['I'].net.AuxLogits is None


@pytest.mark.parametrize('letter', list('LAVIR'))
def test_a_step_of_every_classifier(dls, letter):
    model = classifier(SCALES['full'][letter], K, 224)
    before = digest(model)
    one_step(classifier_learner(dls, model, opt_func=OPTIMIZERS['sgd']))
    assert digest(model) != before


def test_a_step_of_the_autoencoder(dls, autoencoder):
    model = copy.deepcopy(autoencoder)
    one_step(ae_learner(dls, model))
    assert digest(model.encoder) != digest(autoencoder.encoder) and digest(model.decoder) != digest(autoencoder.decoder)


@pytest.mark.parametrize('train, fresh', [(('encoder',), False), (('encoder', 'decoder'), False), (('decoder',), False), (('decoder',), True)])
def test_a_step_of_every_row_of_table_1(dls, autoencoder, classifiers, train, fresh):
    auto = copy.deepcopy(autoencoder)
    if fresh: auto.decoder = reinitialized(auto.decoder)
    composite = Composite(auto, copy.deepcopy(classifiers['R']))
    before = {name: digest(part) for name,part in composite.parts.items()}
    one_step(composite_learner(dls, composite, train))
    assert {name: digest(part) != before[name] for name,part in composite.parts.items()} == {name: name in train for name in composite.parts}


@pytest.mark.parametrize('letter', list('LAVI'))
def test_a_step_of_every_other_decoder(dls, autoencoder, classifiers, letter):
    composite = Composite(copy.deepcopy(autoencoder), copy.deepcopy(classifiers[letter]))
    frozen = digest(composite.autoencoder.encoder),digest(composite.classifier)
    one_step(composite_learner(dls, composite))
    assert (digest(composite.autoencoder.encoder), digest(composite.classifier)) == frozen


def test_one_batch_of_cross_evaluation(dls, autoencoder, classifiers):
    decoders = {'S': autoencoder.decoder} | {letter: reinitialized(autoencoder.decoder) for letter in classifiers}
    x,y = dls.valid.one_batch()
    result = cross_evaluate(autoencoder.encoder, decoders, classifiers, [(x, y)])
    assert result.ranks.shape == (7, 5, 1) and result.accuracy().shape == (7, 5)

"What comes in through the doors of cross_evaluate and of a study's trainings: right, or refused in one line that says what to do."
import pytest, torch
from fastai.callback.core import Callback
from fastai.callback.fp16 import MixedPrecision
from fastai.callback.mixup import MixUp
from fastai.callback.progress import CSVLogger, ShowGraphCallback
from fastai.callback.tracker import EarlyStoppingCallback, ReduceLROnPlateau, SaveModelCallback
from fastai.callback.training import GradientAccumulation
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader as FastaiLoader, SkipItemException
from fastcore.basics import store_attr
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler

from aeclf.composite import Composite
from aeclf.config import configure
from aeclf.crosseval import Pieces, cross_evaluate
from aeclf.segnet import SegNet
from aeclf.store import BadInput, Note, seeded
from aeclf.study import Study
from aeclf.training import ae_learner, classifier_learner, composite_learner

segnet = SegNet((8, 16), (1, 1))
images, labels = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 1, 0])


class Answers(nn.Module):
    "The mean colour, in one of the forms in which networks answer."
    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x): return self.form(x.mean((2, 3)))


def read(net, x=images, y=labels, **kw): return cross_evaluate(segnet.encoder, {'S': segnet.decoder}, {'c': net}, [(x, y)], **kw).ranks


@pytest.mark.parametrize('form', [lambda m: {'logits': m}, lambda m: (m, m), lambda m: m[..., None, None], lambda m: m.double()],
                         ids=['a dictionary', 'a pair', 'N×K×1×1', 'doubles'])
def test_forms_of_an_answer_that_mean_the_same(form):
    assert (read(Answers(form)) == read(Answers(lambda m: m))).all()


@pytest.mark.parametrize('net, x, y, words', [
    (Answers(lambda m: m[:, :1]), images, labels, 'one number per image'),
    (Answers(lambda m: m[:2]), images, labels, 'answers 4 images with 2×3'),
    (Answers(lambda m: m), images, labels-1, 'label -1'),
    (Answers(lambda m: m), images, labels+2, 'from 0 to 2'),
    (Answers(lambda m: m), images, torch.eye(2)[labels], 'one integer for each image'),
    (Answers(lambda m: m), images*255, labels, 'give them in [0, 1]'),
    (Answers(lambda m: m), images*2-1, labels, 'without Normalize'),
    (Answers(lambda m: m), images*float('nan'), labels, 'give them in [0, 1]'),
    (nn.Sequential(nn.Flatten(), nn.Linear(768, 2)).half(), images, labels, 'is in float16')])
def test_what_would_give_a_number_that_means_nothing_is_refused(net, x, y, words):
    with pytest.raises(BadInput, match=words.replace('[', r'\[')): read(net, x, y)


def test_labels_in_a_column_and_streams_without_a_length():
    assert (read(Answers(lambda m: m), y=labels[:, None]) == read(Answers(lambda m: m))).all()
    told = []
    result = cross_evaluate(segnet.encoder, {'S': segnet.decoder}, {'c': Answers(lambda m: m)}, iter([(images, labels)]*2), tell=told.append)
    assert len(result.labels) == 8 and told == []


class Named(torch.utils.data.Dataset):
    "Ten images with names; one of them may be skipped, or None."
    ids = [f'p{k}' for k in range(10)]
    def __init__(self, skipped=None, none=None): self.skipped, self.none = skipped, none
    def __len__(self): return 10
    def __getitem__(self, i):
        if i == self.skipped: raise SkipItemException
        return None if i == self.none else (images[i % 4], i % 3)


def present(batch): return torch.utils.data.default_collate([o for o in batch if o is not None])


def named(dl, **kw): return list(cross_evaluate(segnet.encoder, {'S': segnet.decoder}, {'c': Answers(lambda m: m)}, dl, **kw).ids)


@pytest.mark.parametrize('loader, n', [
    (lambda: FastaiLoader(Named(), bs=4), 10), (lambda: FastaiLoader(Named(), bs=4, drop_last=True), 8), (lambda: FastaiLoader(Named(), bs=4, n=6), 6),
    (lambda: FastaiLoader(Named(9), bs=4, drop_last=True), 8), (lambda: DataLoader(Named(), 4, collate_fn=present), 10), (lambda: DataLoader(Named(), 4, drop_last=True), 8),
    (lambda: DataLoader(Named(), 4, in_order=False), 10)])
def test_names_of_images_that_were_all_read(loader, n): assert named(loader()) == Named.ids[:n]


@pytest.mark.parametrize('loader, words', [
    (lambda: FastaiLoader(Named(1), bs=4), 'gave 9 images of 10'), (lambda: FastaiLoader(Named(1), bs=4, drop_last=True), 'gave 7 images of 8'),
    (lambda: DataLoader(Named(none=1), 4, collate_fn=present), 'gave 9 images of 10'), (lambda: DataLoader(Named(none=1), 4, drop_last=True, collate_fn=present), 'gave 7 images of 8'),
    (lambda: DataLoader(Named(), 4, num_workers=2, in_order=False), 'not read its Named in order'),
    (lambda: DataLoader(Named(), batch_sampler=BatchSampler(RandomSampler(Named()), 4, False)), 'not read its Named in order')])
def test_names_of_images_that_may_have_been_left_out(loader, words):
    with pytest.raises(BadInput, match=words): named(loader())


def test_names_of_images_where_one_was_left_out_before_the_evaluation_was_stopped(tmp_path):
    def stop(fraction): raise KeyboardInterrupt
    stop.stop_asked = lambda: True
    loader, pieces = FastaiLoader(Named(1), bs=4), lambda: Pieces(tmp_path, 'these')
    with pytest.raises(KeyboardInterrupt): named(loader, tell=stop, pieces=pieces())
    with pytest.raises(BadInput, match='gave 9 images of 10'): named(loader, pieces=pieces())


@pytest.mark.parametrize('callback', [EarlyStoppingCallback(patience=1, min_delta=9.), SaveModelCallback(), ReduceLROnPlateau(patience=1), CSVLogger(), GradientAccumulation(8), MixedPrecision()],
                         ids=lambda cb: type(cb).__name__)
def test_callbacks_go_with_every_training(pictures, tmp_path, callback):
    config = configure(f'folder:{pictures}', 'L', 32, '2,2,2', quick=True)
    study = Study(config, tmp_path/'study', 'cpu', cbs=callback)
    study.run(done=lambda *args: None)
    assert study.run(done=lambda *args: None) == []
    if isinstance(callback, EarlyStoppingCallback): assert len(study.history('A_L')) <= 3
    if isinstance(callback, CSVLogger): assert {p.parent.name for p in (tmp_path/'study'/'callbacks').rglob('history.csv')} == {'L', 'S', 'A_L'}


@pytest.mark.parametrize('callback', [ShowGraphCallback, MixUp()])
def test_callbacks_that_cannot_are_refused_by_name(tmp_path, callback):
    with pytest.raises(BadInput, match='callback (ShowGraphCallback|MixUp): it '): Study(configure(), tmp_path/'study', 'cpu', cbs=callback)
    assert list(tmp_path.iterdir()) == []


class TensorBoardCallback(Callback):   # as fastai's, which needs TensorBoard to be installed
    def __init__(self, log_preds=True, trace_model=True, projector=False): store_attr()


@pytest.mark.parametrize('wants, words', [({}, 'log_preds and trace_model'), (dict(log_preds=False), 'trace_model'), (dict(trace_model=False), 'log_preds'),
                                          (dict(log_preds=False, trace_model=False, projector=True), 'projector')])
def test_tensorboard_is_asked_for_what_there_is(tmp_path, wants, words):
    with pytest.raises(BadInput, match=f'callback TensorBoardCallback: an autoencoder has nothing for {words}; take TensorBoardCallback'):
        Study(configure(), tmp_path/'study', 'cpu', cbs=TensorBoardCallback(**wants))
    with pytest.raises(BadInput, match='has nothing for log_preds and trace_model'): Study(configure(), tmp_path/'study', 'cpu', cbs=TensorBoardCallback)
    Study(configure(), tmp_path/'study', 'cpu', cbs=TensorBoardCallback(log_preds=False, trace_model=False))


def test_tensorboard_where_it_is_installed(pictures, tmp_path):
    pytest.importorskip('tensorboard')
    from fastai.callback.tensorboard import TensorBoardCallback
    writes = TensorBoardCallback(log_dir=tmp_path/'written', log_preds=False, trace_model=False)
    study = Study(configure(f'folder:{pictures}', 'L', 32, '1,1,1', quick=True), tmp_path/'study', 'cpu', cbs=writes)
    with pytest.warns(Note, match='a training that is stopped begins anew'): study.run(done=lambda *args: None)
    assert len(list((tmp_path/'written').iterdir())) == 3   # classifier, A_S, decoder


def network(): return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.Flatten(), nn.Linear(36, 2))


learners = {'autoencoder': lambda dls: ae_learner(dls, SegNet((8, 16), (1, 1))),
            'classifier': lambda dls: classifier_learner(dls, network()),
            'composite': lambda dls: composite_learner(dls, Composite(SegNet((8, 16), (1, 1)), network()))}
loaders = {'fastai': lambda items: FastaiLoader(items, bs=4), 'torch': lambda items: torch.utils.data.DataLoader(items, 4)}
good = [(x, int(y)) for x, y in zip(images, labels)]*2
odd = {'255': [(x*255, y) for x, y in good], 'normalised': [(x*4-2, y) for x, y in good], 'NaN': [(x*float('nan'), y) for x, y in good],
       'grey': [(x[:1], y) for x, y in good], 'bytes': [((x*255).byte(), y) for x, y in good],
       'label -1': [(x, y-1) for x, y in good], 'label 2': [(x, 2*y) for x, y in good], 'label 0.5': [(x, y/2) for x, y in good]}


@pytest.mark.parametrize('kind', loaders)
@pytest.mark.parametrize('learner', learners)
@pytest.mark.parametrize('fault', odd)
def test_learners_look_at_what_other_loaders_read(kind, learner, fault):
    "At the first batch at once; at a later one when it comes."
    if learner == 'autoencoder' and 'label' in fault:   # which do not matter to it
        learners[learner](DataLoaders(*[loaders[kind](odd[fault])]*2)).quietly().fit_poly(1, 1e-3)
        return
    words = fault if fault == 'label -1' else 'label' if 'label' in fault else 'in .0, 1.'
    if fault != 'label 2':   # only the network knows how many classes there are
        with pytest.raises(BadInput, match=words): learners[learner](DataLoaders(*[loaders[kind](odd[fault])]*2))
    late = learners[learner](DataLoaders(*(loaders[kind](o) for o in (good+odd[fault], good)))).quietly()
    with pytest.raises(BadInput, match=words): late.fit_poly(1, 1e-3)


@pytest.mark.parametrize('same', [lambda x, y: (x.double(), y), lambda x, y: (x, torch.tensor([y])), lambda x, y: (x, torch.tensor(y, dtype=torch.int32))],
                         ids=['doubles', 'labels in a column', 'short labels'])
def test_learners_take_what_means_the_same(same):
    histories = []
    for items in (good, [same(x, y) for x, y in good]):
        with seeded(0): histories.append(learners['classifier'](DataLoaders(*[loaders['fastai'](items)]*2)).quietly().fit_poly(1, 1e-3))
    assert histories[0].equals(histories[1])

"What people bring: folders from three operating systems, pictures of every depth, data sets that are nearly right."
import hashlib, shutil, unicodedata
from pathlib import Path

import numpy as np, pytest, torch
from PIL import Image

from aeclf.classifiers import Classifier
from aeclf.config import Config
from aeclf.data import dataloaders, folder, images, images_digest
from aeclf.pictures import rgb
from aeclf.store import BadInput
from aeclf.workspace import Workspace


def squares(root, *classes, n=4, ending='.png', form='PNG'):
    "A folder of grey squares, a brightness for each class."
    for k, name in enumerate(classes):
        (root/name).mkdir(parents=True, exist_ok=True)
        for i in range(n): Image.new('L', (40, 40), 20+30*k+i).save(root/name/f'{i}{ending}', form)
    return root


def read(root, **kw): return folder(root, 32, 4, num_workers=0, **kw)


@pytest.mark.parametrize('names', [('.git',), ('__MACOSX',), ('@eaDir',), ('.ipynb_checkpoints',), ('owl', '__MACOSX'), ('owl', 'deep', '@eaDir')])
def test_hidden_folders_hold_no_pictures(tmp_path, names):
    squares(tmp_path, 'owl', 'tit')
    squares(tmp_path.joinpath(*names[:-1]), names[-1])
    dls = read(tmp_path)
    assert dls.vocab == ['owl', 'tit'] and len(dls.train_ds)+len(dls.valid_ds) == 8
    assert dls.notes == ['left out: 1 hidden']


def test_links_are_followed_and_circles_are_not(tmp_path):
    squares(tmp_path/'data', 'owl', 'tit')
    squares(tmp_path/'far', 'jay', 'magpie', 'roller')
    (tmp_path/'data'/'roller').symlink_to(tmp_path/'far'/'roller', target_is_directory=True)
    (tmp_path/'data'/'owl'/'up').symlink_to(tmp_path/'data', target_is_directory=True)
    dls = read(tmp_path/'data')
    assert dls.vocab == ['owl', 'roller', 'tit'] and len(dls.train_ds)+len(dls.valid_ds) == 12


@pytest.mark.parametrize('train, valid', [('train', 'val'), ('TRAIN', 'Test'), ('Training', 'validation'), ('training', 'testing')])
def test_parts_are_known_whatever_their_case(tmp_path, train, valid):
    for part in (train, valid): squares(tmp_path/part, 'owl', 'tit')
    dls = read(tmp_path)
    assert dls.vocab == ['owl', 'tit'] and dls.train_ds.ids[0].startswith(train) and dls.valid_ds.ids[0].startswith(valid)


def test_what_looks_like_parts_is_asked_about_and_a_class_may_be_a_train(tmp_path):
    for part in ('my_train', 'my_test'): squares(tmp_path/'parts'/part, 'owl', 'tit')
    with pytest.raises(BadInput, match='look like parts of a data set'): read(tmp_path/'parts')
    assert read(squares(tmp_path/'vehicles', 'car', 'train', 'tram')).vocab == ['car', 'train', 'tram']


@pytest.mark.parametrize('tops, below, words', [
    (('train', 'test'), [''], 'test/, train/ hold no folders of classes'), (('Training', 'val'), [''], 'hold no folders of classes'), (('train', 'val', 'test'), [''], 'hold no folders'),
    (('trainfoo', 'testfoo'), [''], 'hold no folders of classes'), (('trainset', 'testset'), ['owl', 'tit'], 'testset/, trainset/ look like parts'),
    (('TrainData', 'ValData', 'docs'), ['owl', 'tit'], 'TrainData/, ValData/ look like parts'), (('trainA', 'testA', 'trainB', 'testB'), ['owl', 'tit'], 'look like parts'),
    (('seen', 'unseen'), ['owl', 'tit'], 'seen/, unseen/ all hold owl/, tit/: they look like parts'), (('a', 'b', 'c', 'd'), ['1', '2', '3', '4'], 'all hold 1/, 2/, 3/')])
def test_unknown_parts_are_asked_about(tmp_path, tops, below, words):
    for top in tops: squares(tmp_path/top, *below)
    with pytest.raises(BadInput, match=words) as said: read(tmp_path)
    assert '\n' not in str(said.value) and 'put the pictures' in str(said.value) or 'name the one to train on train/' in str(said.value)
    assert read(tmp_path, vocab=tops).vocab == list(tops)


@pytest.mark.parametrize('tops, below', [(('owl', 'tit'), ['adult']), (('owl', 'tit'), ['', 'adult', 'young']), (('owl', 'tit', 'jay', 'kea'), ['adult', 'young']),
                                         (('steam_train', 'bullet_train'), ['']), (('trainer', 'valley', 'owl'), [''])])
def test_classes_may_have_subfolders_and_odd_names(tmp_path, tops, below):
    for top in tops: squares(tmp_path/top, *below)
    assert read(tmp_path).vocab == sorted(tops)


@pytest.mark.parametrize('held, names', [([], 'nothing in it'), (['a.raw', 'b.raw'], '2 files, none of them a picture')])
def test_a_class_does_not_vanish(tmp_path, held, names):
    squares(tmp_path, 'owl', 'tit')
    (tmp_path/'jay').mkdir()
    for name in held: (tmp_path/'jay'/name).touch()
    with pytest.raises(BadInput, match=f'jay: {names}'): read(tmp_path)


@pytest.mark.parametrize('ending, form', [('.gif', 'GIF'), ('.jfif', 'JPEG'), ('.JPE', 'JPEG')])
def test_more_endings_are_pictures(tmp_path, ending, form):
    squares(tmp_path, 'owl', 'tit')
    squares(tmp_path, 'jay', ending=ending, form=form)
    assert read(tmp_path).vocab == ['jay', 'owl', 'tit']


@pytest.mark.parametrize('names, order', [(['10', '9', '2'], ['2', '9', '10']), (['07', '10', '8'], ['07', '8', '10']), (['10', '9', 'x'], ['10', '9', 'x'])])
def test_whole_numbers_stand_in_their_order(tmp_path, names, order):
    dls = read(squares(tmp_path, *names))
    assert dls.vocab == order
    assert any('order of their numbers' in o for o in dls.notes) == (order != sorted(order))
    assert read(tmp_path, vocab=names).vocab == names
    assert {Path(f).parts[0] for f, k in zip(dls.train_ds.ids, dls.train_ds.items) if k[1] == 0} == {order[0]}


def test_names_are_compared_as_text(tmp_path):
    composed, apart = (unicodedata.normalize(form, 'Käuzchen') for form in ('NFC', 'NFD'))
    squares(tmp_path/'two'/'train', composed, 'tit')
    squares(tmp_path/'two'/'val', apart, 'tit')
    dls = read(tmp_path/'two')
    assert dls.vocab == [composed, 'tit'] and len(dls.valid_ds) == 8
    with pytest.raises(BadInput, match='in different Unicode forms'): read(squares(tmp_path/'one', composed, apart))


@pytest.mark.parametrize('white, kind', [(255, np.uint16), (1023, np.uint16), (4095, np.uint16), (65535, np.uint16), (255, np.int32), (1, np.float32), (255, np.float32), (65535, np.float32)])
def test_pictures_of_every_depth(tmp_path, white, kind):
    ramp = np.linspace(0, 1, 64)[None].repeat(8, 0)
    Image.fromarray((ramp*white).astype(kind)).save(tmp_path/'deep.tif')
    assert np.abs(np.asarray(rgb(tmp_path/'deep.tif'))[..., 0]/255-ramp).max() < 0.01


def test_a_tag_names_the_white(tmp_path):
    dark = Image.fromarray(np.full((8, 8), 1000, np.uint16))
    dark.save(tmp_path/'dark.tif', tiffinfo={281: 4095})
    assert np.asarray(rgb(tmp_path/'dark.tif'))[0, 0, 0] == round(1000/4095*255)


grey = torch.full((3, 8, 8), 0.5)
good = [(grey, k % 2) for k in range(6)]
odd = {'items should be pairs': {'pixel_values': grey, 'label': 0}, 'a tuple of 3': (grey, 0, 'path'), 'uint8': (torch.zeros(3, 8, 8, dtype=torch.uint8), 0),
       r'\[nan, nan\]': (grey*torch.nan, 0), r'in \[-1, -1\]': (grey*-2, 0), '1×8×8': (grey[:1], 0), 'images of two sizes': (grey[:, :4, :4], 0),
       "is 'owl'": (grey, 'owl'), 'is 1.0': (grey, 1.), 'is -1': (grey, -1), r'is \[0, 1\]': (grey, torch.tensor([0, 1]))}


@pytest.mark.parametrize('words', odd)
def test_items_that_are_nearly_right(words):
    with pytest.raises(BadInput, match=words): dataloaders(good, [*good, odd[words]])
    with pytest.raises(BadInput, match=words): images_digest([*good, odd[words]])
    late = dataloaders(good, [*good*2, odd[words]], bs=4)
    with pytest.raises(BadInput, match=words): list(late.valid)


def test_looking_changes_no_training():
    class Drawn(torch.utils.data.Dataset):
        vocab = ['owl', 'tit']
        def __len__(self): return 8
        def __getitem__(self, i): return torch.rand(3, 8, 8), i % 2
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    dataloaders(Drawn(), Drawn())
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize('label', [1, np.int64(1), torch.tensor(1), True])
def test_labels_may_be_integers_of_any_kind(label):
    assert dataloaders([(grey, 0), (grey, label)], good).vocab == ['0', '1']


class ByBrightness(torch.nn.Module):
    "Knows the grey squares of `squares`, and numbers their classes in an order of its own."
    def __init__(self, order):
        super().__init__()
        self.register_buffer('grey', torch.tensor([(20+60*int(n)+25)/255 for n in order]))
        self.sharp = torch.nn.Parameter(torch.tensor(100.))
    def forward(self, x): return -self.sharp*(x.mean((1, 2, 3))[:, None]-self.grey).abs()


@pytest.mark.parametrize('order, said', [('0123', []), ('3210', ['as its answers suggest (3, 2, 1, 0 …) it would be 100%'])])
def test_a_trained_network_in_another_order_is_noted_before_anything_is_trained(tmp_path, order, said):
    squares(tmp_path/'data', '0', 'a', '1', 'b', '2', 'c', '3', n=50)
    for between in 'abc': shutil.rmtree(tmp_path/'data'/between)   # so that no grey is in two classes
    handed = {'mine': Classifier(ByBrightness(order), mean=0., std=1.)}
    config = Config(data=f'folder:{tmp_path/"data"}', classifiers={}, size=32, widths=(8, 16), convs=(1, 1))
    study = Workspace(config, tmp_path/'study', 'cpu', networks=handed).check()
    assert len(study.notes) == len(said) and all(words in note for words, note in zip(said, study.notes))


def deep(root, *highest, kind=np.uint16, ending='.png', **kw):
    "Two classes of pictures of 0 and one of these values, each twice; in a class alternately."
    for k, high in enumerate(highest*2):
        (root/'ab'[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(((np.arange(64) >= 20+k)*np.ones((64, 1))*high).astype(kind)).save(root/'ab'[k % 2]/f'{k:02}{ending}', **kw)
    return root


def brightest(root, load=folder):
    "The brightest value of each picture, by its name, and the first note."
    dls = load(root, 32, 4, framing='whole', num_workers=0)
    found = {Path(name).name: round(float(ds[k][0].max()), 2) for ds in (dls.valid_ds, dls.train_ds) for k, name in enumerate(ds.ids)}
    return [found[name] for name in sorted(found)], dls.notes


@pytest.mark.parametrize('load', [folder, images], ids=lambda o: o.__name__)
@pytest.mark.parametrize('highest, white', [((4000, 400, 200), 4095), ((16383, 900, 4200), 16383), ((60000, 900, 300), 65535), ((1000, 200, 250), 1023), ((255, 100, 90), 255)])
def test_all_deep_pictures_of_a_folder_are_scaled_alike(tmp_path, load, highest, white):
    found, notes = brightest(deep(tmp_path, *highest), load)
    assert found == pytest.approx([h/white for h in highest*2], abs=0.03)
    assert f'6 pictures of more than 8 bits with values from 0 to {highest[0]}: 0 is black, {white} white' in notes


def test_floats_of_a_folder_are_scaled_alike(tmp_path):
    found, notes = brightest(deep(tmp_path, 200., 0.9, 100., kind=np.float32, ending='.tif'))
    assert found == pytest.approx([h/255 for h in (200, 0.9, 100)*2], abs=0.03) and 'pictures of floats' in notes[0]


@pytest.mark.parametrize('load', [folder, images], ids=lambda o: o.__name__)
@pytest.mark.parametrize('highest', [(4200, 4000, 10), (5000, 100, 10), (20, 3, 7)])
def test_a_white_that_cannot_be_told_is_asked_about(tmp_path, load, highest):
    with pytest.raises(BadInput, match=f'6 pictures of more than 8 bits have values up to {highest[0]} only.*save them in 8 bits'): load(deep(tmp_path/'png', *highest), 32, 4)
    deep(tmp_path/'tif', *highest, ending='.tif', tiffinfo={281: max(highest)})
    assert max(brightest(tmp_path/'tif', load)[0]) == 1


@pytest.mark.parametrize('same', [lambda x, y: (x, torch.tensor(y)), lambda x, y: (x, bool(y)), lambda x, y: (x, np.int64(y)), lambda x, y: (x.double(), y),
                                  lambda x, y: (x.clone().requires_grad_(), y)], ids=['tensors', 'truths', 'NumPy', 'doubles', 'with gradients'])
def test_items_that_mean_the_same(same):
    "The digest, and what is read, do not tell how a number is held."
    items = [same(*o) for o in good]
    assert images_digest(items) == images_digest(good) == hashlib.sha256(b''.join(x.numpy().tobytes()+str(y).encode() for x, y in good)).hexdigest()
    for ours, theirs in zip(dataloaders(items, items, bs=4).valid, dataloaders(good, good, bs=4).valid):
        assert all(torch.equal(a, b) and a.dtype == b.dtype and not a.requires_grad for a, b in zip(ours, theirs))

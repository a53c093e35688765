"Pictures as they are at hand: parts of ImageNet, folders without classes, the centre of a picture, and memory that does not grow with their number."
import shutil
from pathlib import Path

import numpy as np, pytest, torch
from PIL import Image

from aeclf import data
from aeclf.config import Config
from aeclf.data import dataloaders, images_digest, imagenet, load, synsets
from aeclf.pictures import Pictures, train_tfm, valid_tfm
from aeclf.store import BadInput
from aeclf.unlabelled import unlabelled
from aeclf.workspace import Workspace
from conftest import aeclf, one_line

SOME = synsets()[3], synsets()[500], synsets()[999]


def drawn(folder, n, seed=0, size=(40, 48)):
    "A folder of `n` pictures, each another one."
    rng = np.random.default_rng([seed, *folder.name.encode()])
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(n): Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder/f'{k:02}.png')
    return folder


def read(path, **kw): return imagenet(path, size=32, bs=4, num_workers=0, **kw)


def names(ds): return [Path(o).as_posix() for o in ds.ids]


@pytest.mark.parametrize('parts, lacks', [
    (('train', 'val'), 'train/ has 3 of the 1,000 classes'), (('Training', 'TEST'), 'Training/ has 3 of the 1,000 classes'),
    (('val',), 'there is no train/'), (('train',), 'train/ has 3 of the 1,000 classes'), (('',), 'there is no train/')])
def test_a_part_of_imagenet(tmp_path, parts, lacks):
    for part in parts:
        for s in SOME: drawn(tmp_path/part/s, 5, seed=len(part))
    dls = read(tmp_path)
    assert dls.vocab == synsets() and dls.lacks == lacks
    assert (len(dls.train_ds), len(dls.valid_ds)) == ((15, 15) if len(parts) == 2 else (12, 3))
    assert not {f for f, _ in dls.train_ds.items} & {f for f, _ in dls.valid_ds.items}
    for ds in (dls.train_ds, dls.valid_ds): assert [synsets()[k] for _, k in ds.items] == [f.parent.name for f, _ in ds.items]
    assert ('a fifth' in dls.notes[0]) == (len(parts) == 1) and 'of the 1,000 classes' in dls.notes[0]


def test_the_parts_of_imagenet_may_have_different_classes(tmp_path):
    for s in SOME[:2]: drawn(tmp_path/'train'/s, 3)
    for s in SOME[1:]: drawn(tmp_path/'val'/s, 2, seed=1)
    drawn(tmp_path/'val', 2)
    dls = read(tmp_path)
    assert [set(k for _, k in ds.items) for ds in (dls.train_ds, dls.valid_ds)] == [{3, 500}, {500, 999}]
    assert dls.notes == ['to train on 6 pictures of 2 of the 1,000 classes; to measure on 4 pictures of 2 of the 1,000 classes',
                         'left out: 2 pictures that lie loose in val/']


def test_what_is_left_out_of_imagenet_is_counted(tmp_path):
    for part in ('train', 'val', 'test'):
        for s in SOME: drawn(tmp_path/part/s, 3, seed=len(part))
    drawn(tmp_path/'val'/SOME[0]/'deep', 2)
    for name in (f'train/{SOME[0]}/._0.JPEG', f'train/{SOME[0]}/x.raw', f'val/{SOME[1]}/boxes.txt', 'val/.DS_Store', 'readme.txt'): (tmp_path/name).touch()
    assert read(tmp_path).notes[1:] == ['left out: 2 hidden, 3 not named like pictures, 11 pictures in other folders']
    drawn(tmp_path, 1)
    assert read(tmp_path).notes[1:] == [f'left out: 1 pictures that lie loose in {tmp_path.name}/', 'left out: 2 hidden, 3 not named like pictures, 11 pictures in other folders']
    assert read(tmp_path/'train').notes[1:] == ['left out: 1 hidden, 1 not named like pictures']


@pytest.mark.parametrize('spoil, words', [
    (lambda p: [f.rename(f.with_suffix('.raw')) for f in (p/'val'/SOME[0]).iterdir()], f'{SOME[0]}: 2 files, none of them a picture'),
    (lambda p: [(p/'val'/SOME[0]/'images').mkdir(), *(f.rename(f.parent/'images'/f.name) for f in (p/'val'/SOME[0]).glob('*.png'))], f'{SOME[0]}: no picture in it, images/00.png lies deeper'),
    (lambda p: shutil.move(p/'val'/SOME[0], p/'val'/'tench'), 'tench is none of them'),
    (lambda p: (p/'val'/SOME[0]/'00.png').write_bytes(b''), '00.png: a file of zero bytes'),
    (lambda p: [shutil.move(p/'val'/s, p/'val'/f'class{k}') for k, s in enumerate(SOME)], 'not ImageNet, class0 is no synset'),
    (lambda p: [shutil.rmtree(p/'val'/s) for s in SOME] + [drawn(p/'val', 2)], 'the images lie loose in it'),
    (lambda p: [f.unlink() for f in (p/'val').glob('*/*')], 'no images in its synset folders'),
    (lambda p: shutil.move(p/'val', p/'photographs'), 'ImageNet has train/ and val/'),
    (lambda p: [f.unlink() for f in sorted((p/'val').glob('*/*'))[1:]], 'only one image')])
def test_what_is_no_imagenet(tmp_path, spoil, words):
    for s in SOME: drawn(tmp_path/'val'/s, 2)
    spoil(tmp_path)
    with pytest.raises(BadInput, match=words): read(tmp_path)


def test_what_has_to_be_trained_needs_a_whole_train(tmp_path):
    for s in SOME: drawn(tmp_path/'data'/'val'/s, 4)
    one_line(aeclf(tmp_path, 'run', '--data', 'imagenet:data', '--classifiers', 'L', '--size', '32', '--out', 'study'),
             "classifier 'L' has to be trained", 'there is no train/', 'give weights')
    assert not (tmp_path/'study').exists()


def test_the_first_line_counts_what_is_there_of_imagenet(tmp_path):
    for s in SOME: drawn(tmp_path/'data'/'val'/s, 5)
    (tmp_path/'nets.py').write_text('from aeclf.classifiers import small_resnet\ndef make():\n    net = small_resnet(1000)\n    net.trained = True\n    return net\n')
    for _ in range(2):
        result = aeclf(tmp_path, 'run', '--data', 'imagenet:data', '--classifiers', 'nets.py:make', '--size', '32', '--epochs', '0,0,0', '--set', 'widths=[8,8,8]', '--set', 'panels=1', '--out', 'study')
        assert result.returncode == 0 or 'no classifier recognises anything' in result.stderr, result.stderr   # it is random
        first, = (line for line in result.stdout.splitlines() if '32 pixels' in line)
        assert first.startswith('imagenet:data (no train/: a fifth of val/ is measured, by the hash of the paths, 3 pictures of ')
        assert 'to train on 12 pictures of 3 of the 1,000 classes), 32 pixels, nets' in first


@pytest.mark.parametrize('source', ['imagenet', 'images'])
def test_the_split_is_by_name_alone(tmp_path, source):
    for s in SOME: drawn(tmp_path/'a'/s, 20)
    shutil.copytree(tmp_path/'a', tmp_path/'b')
    first, again, moved = (names(load(f'{source}:{tmp_path/p}', 32, 4, seed=seed).valid_ds) for p, seed in (('a', 0), ('a', 7), ('b', 0)))
    assert first == again == moved and len(first) == 12
    drawn(tmp_path/'b'/'n01440764', 5)
    more = names(load(f'{source}:{tmp_path/"b"}', 32, 4).valid_ds)
    assert len(more) == 13 and len(set(first) - set(more)) <= 2


@pytest.mark.parametrize('copies', [['copy.png'], ['deep/a.png', 'deep/b.png']])
def test_copies_of_what_is_measured_do_not_train(tmp_path, copies):
    drawn(tmp_path/'all', 20)
    plain = load(f'images:{tmp_path/"all"}', 32, 4)
    for f in (tmp_path/'all').glob('*.png'):
        for name in copies:
            (tmp_path/f.stem/name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(f, tmp_path/f.stem/name)
    dls = load(f'images:{tmp_path}', 32, 4)
    bytes_of = lambda ds: {f.read_bytes() for f, _ in ds.items}
    assert not bytes_of(dls.train_ds) & bytes_of(dls.valid_ds) and len(plain.valid_ds) == 4
    assert any('copies of measured pictures left out of the training' in o for o in dls.notes)


@pytest.mark.parametrize('n, words', [(1, 'a picture to train on is a copy of measured ones in another class'), (3, '3 pictures to train on are copies')])
def test_a_picture_in_two_classes_is_said(tmp_path, n, words):
    for part in ('train', 'valid'):
        for name in ('cat', 'dog'): drawn(tmp_path/part/name, 6, seed=int(part == 'valid'))
    plain = load(f'folder:{tmp_path}', 32, 4)
    assert not any('another class' in o for o in plain.notes)
    for f in sorted((tmp_path/'valid'/'cat').iterdir())[:n]: shutil.copy(f, tmp_path/'train'/'dog'/f'copy{f.name}')
    dls = load(f'folder:{tmp_path}', 32, 4)
    assert len(dls.train_ds) == len(plain.train_ds)+n and any(o.startswith(words) for o in dls.notes)


@pytest.mark.parametrize('source, parts', [('imagenet', ('train', 'val')), ('imagenet', ('',)), ('folder', ('train', 'val')), ('folder', ('',))])
def test_no_source_measures_what_it_trains_on(tmp_path, source, parts):
    "Copies under other names, in another part; in ImageNet also those in another class, which contradict themselves in a folder of one's own."
    for k, part in enumerate(parts):
        for s in SOME: drawn(tmp_path/part/s, 10, seed=k)
    files = sorted(tmp_path.glob(f'{parts[-1]}/*/*.png' if parts[-1] else '*/*.png'))
    to = [SOME[1]]*10+[SOME[2]]*10+[SOME[0]]*10 if source == 'imagenet' else sorted(list(SOME)[:3]*10)
    for f, s in zip(files, to): shutil.copy(f, tmp_path/parts[0]/s/f'copy{f.parent.name}{f.name}')
    dls = load(f'{source}:{tmp_path}', 32, 4)
    bytes_of = lambda ds: {f.read_bytes() for f, _ in ds.items}
    assert not bytes_of(dls.train_ds) & bytes_of(dls.valid_ds)
    assert len(dls.train_ds)+len(dls.valid_ds) < 30*len(parts)+30 and len(dls.vocab) in (3, 1000)
    left = 30*len(parts)+30-len(dls.train_ds)-len(dls.valid_ds)
    assert [o for o in dls.notes if 'left out' in o] == [f'{left} copies of measured pictures left out of the training']


@pytest.mark.parametrize('source', ['imagenet', 'folder'])
def test_a_class_of_copies_alone_is_said(tmp_path, source):
    for s in SOME: drawn(tmp_path/'val'/s, 3)
    for s in SOME[1:]: drawn(tmp_path/'train'/s, 3, seed=1)
    shutil.copytree(tmp_path/'val'/SOME[0], tmp_path/'train'/SOME[0])
    dls = load(f'{source}:{tmp_path}', 32, 4)
    if source == 'imagenet': assert dls.lacks == 'train/ has 2 of the 1,000 classes' and len(dls.train_ds) == 6
    else: assert dls.notes == [f"class '{SOME[0]}' trains on copies of measured pictures, as nothing else is there; give other pictures"] and len(dls.train_ds) == 9


def test_copies_alone_in_imagenet_are_said(tmp_path):
    for part in ('train', 'val'): drawn(tmp_path/part/SOME[0], 3)
    dls = load(f'imagenet:{tmp_path}', 32, 4)
    assert len(dls.train_ds) == 3 and 'all pictures to train on are copies of measured ones; give others' in dls.notes


def test_only_what_may_be_a_copy_is_read(tmp_path, monkeypatch):
    "Raw pictures of one length with the same beginning are no copies; of files of other lengths nothing is read."
    def raw(name, k, edge=200):
        pixels = np.full((edge, edge, 3), 255, np.uint8)
        pixels[k] = 0
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path/name)
    for k in range(3):
        raw(f'train/{SOME[0]}/{k}.tif', 150+k)
        raw(f'val/{SOME[0]}/{k}.tif', 160+k)
        raw(f'train/{SOME[1]}/{k}.tif', k, 100+k)
    raw(f'train/{SOME[1]}/again.tif', 161)
    whole = []
    monkeypatch.setattr(data, 'file_digest', lambda f: whole.append(f.parent.name+f.parent.parent.name) or f.read_bytes())
    dls = read(tmp_path)
    assert len(dls.train_ds) == 6 and '1 copy of measured pictures left out of the training' in dls.notes
    assert whole.count(f'{SOME[1]}train') <= 1


@pytest.mark.parametrize('folders, sizes, words', [
    (['a/b/c', 'd'], (8, 2), 'a fifth'), (['train', 'valid'], (5, 5), 'to train on 5'), (['TRAIN/x', 'Test/y/z'], (5, 5), 'to train on 5'),
    (['train', 'val', 'test'], (5, 5), 'to train on 5'), (['train', 'beach'], (8, 2), 'a fifth'), (['val'], (4, 1), 'a fifth')])
def test_pictures_at_any_depth(tmp_path, folders, sizes, words):
    for k, name in enumerate(folders): drawn(tmp_path/name, 5, seed=k)
    dls = load(f'images:{tmp_path}', 32, 4)
    assert (len(dls.train_ds), len(dls.valid_ds)) == sizes and words in dls.notes[0]
    assert dls.vocab is None and dls.train_ds.unlabelled and dls.valid.one_batch()[1].tolist() == [0]*min(sizes[1], 16)
    assert ('left out: 5 pictures outside of train/ and val/' in dls.notes) == (len(folders) == 3)


@pytest.mark.parametrize('folders, words', [(['a'], 'no train/ and valid/'), (['train'], 'no valid/'), (['val'], 'no train/')])
def test_what_is_used_and_what_is_missing_is_said(tmp_path, folders, words):
    for k, name in enumerate(folders): drawn(tmp_path/name, 20, seed=k)
    dls = load(f'images:{tmp_path}', 32, 4, limit=(5, 3))
    assert (len(dls.train_ds), len(dls.valid_ds)) == (5, 3)
    assert dls.notes[0].startswith(f'{words}: ') and dls.notes[0].endswith('by the hash of the paths, 3 pictures; to train on 5 pictures')


@pytest.mark.parametrize('make, words', [
    (lambda p: None, 'no such folder'), (lambda p: p.mkdir(), 'no images below it'), (lambda p: drawn(p, 1), 'only one image'),
    (lambda p: (drawn(p, 3)/'00.png').write_bytes(b'x'), '00.png: cannot be read as an image'),
    (lambda p: (drawn(p/'train', 3), (p/'val').mkdir(), shutil.copy(p/'train'/'00.png', p/'val'), [(p/'train'/f'0{k}.png').unlink() for k in (1, 2)]), 'only copies of')])
def test_pictures_that_are_none(tmp_path, make, words):
    make(tmp_path/'p')
    with pytest.raises(BadInput, match=words): load(f'images:{tmp_path/"p"}', 32, 4)


def test_unreadable_pictures_are_left_out_when_asked(tmp_path):
    (drawn(tmp_path/'p', 11)/'00.png').write_bytes(b'x')
    dls = load(f'images:{tmp_path/"p"}', 32, 4, skip_unreadable=True)
    assert (len(dls.train_ds), len(dls.valid_ds), len(dls.skipped)) == (8, 2, 1)


@pytest.mark.parametrize('label', [None, -1, 'cat', 7])
def test_labels_that_mean_nothing(label):
    class Bare(list): unlabelled = True
    items = Bare([(torch.rand(3, 8, 8), label)]*6)
    dls = dataloaders(items, items, bs=2)
    assert dls.vocab is None and [y.tolist() for _, y in dls.valid] == [[0]*6]
    assert images_digest(items) == images_digest([(x, 0) for x, _ in items])


@pytest.mark.parametrize('size', [32, 64, 224])
def test_the_centre_is_one_of_two_images(tmp_path, size):
    file = drawn(tmp_path/'p', 1, size=(250, 333))/'00.png'
    train, valid = (Pictures([(file, 0)], ['p'], tfm(size, 'centre'), ['p']) for tfm in (train_tfm, valid_tfm))
    still = valid[0][0]
    assert (train.fixed_views, valid.fixed_views) == (2, 1) and still.shape == (3, size, size)
    seen = [train[0][0] for _ in range(12)]
    assert all(torch.equal(o, still) or torch.equal(o, still.flip(2)) for o in seen)
    assert len({o.numpy().tobytes() for o in seen}) == 2


@pytest.mark.parametrize('framing', ['crop', 'whole', 'centre'])
@pytest.mark.parametrize('source', ['imagenet', 'images'])
def test_every_framing_for_every_source(tmp_path, source, framing):
    for s in SOME: drawn(tmp_path/s, 4)
    dls = load(f'{source}:{tmp_path}', 32, 4, framing=framing)
    assert dls.train_ds.fixed_views == (2 if framing == 'centre' else None) and dls.valid_ds.fixed_views == 1
    assert dls.train.one_batch()[0].shape == (4, 3, 32, 32)
    assert unlabelled(f'folder:{tmp_path}', 32, 4, framing).dataset.fixed_views == dls.train_ds.fixed_views


def test_a_framing_that_is_none():
    with pytest.raises(BadInput, match="did you mean 'centre'"): load('photos', framing='center')

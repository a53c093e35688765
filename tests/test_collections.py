"Pictures without labels: workers and processes that share shards, damaged members, and mistakes on the command line."
import os,subprocess,sys,tarfile

import numpy as np, pytest, torch
from PIL import Image

from aeclf.config import Config
from aeclf.unlabelled import Damaged, Shards, unlabelled, write_shards
from aeclf.workspace import Workspace
from conftest import aeclf, one_line


class Number:
    "Tells which picture it is: all its pixels have one value."
    def __call__(self, image): return torch.tensor(int(np.asarray(image)[0, 0, 0]))


@pytest.fixture(scope='module')
def numbered(tmp_path_factory):
    "Twenty-four pictures of one colour each, in six shards; the folder of pictures is beside them."
    root = tmp_path_factory.mktemp('numbered')
    (root/'pictures').mkdir()
    for k in range(24): Image.new('RGB', (40, 40), (10*k,)*3).save(root/'pictures'/f'{k:02}.png')
    write_shards(root/'pictures', root/'shards', per=4)
    return root


def numbers(shards, num_workers=0):
    loader = torch.utils.data.DataLoader(Shards(shards, Number(), Damaged(None)), batch_size=None, num_workers=num_workers)
    return [int(x)//10 for x,_ in loader]


def test_workers_share_the_shards(numbered):
    assert sorted(numbers(sorted(numbered.glob('shards/*.tar')), num_workers=2)) == list(range(24))


def test_processes_share_the_shards(numbered):
    code = 'import sys; from test_collections import numbers; print(*numbers(sys.argv[1:], num_workers=1))'
    shards = list(map(str, sorted(numbered.glob('shards/*.tar'))))
    seen = []
    for rank in (0, 1):
        env = dict(os.environ, RANK=str(rank), WORLD_SIZE='2', PYTHONPATH=os.path.dirname(__file__))
        out = subprocess.run([sys.executable, '-c', code, *shards], env=env, capture_output=True, text=True, check=True).stdout
        seen.append(sorted(map(int, out.split())))
    assert len(seen[0]) == 12 and sorted(seen[0]+seen[1]) == list(range(24))


def test_another_order_in_every_pass(numbered):
    torch.manual_seed(0)
    stream = unlabelled(f'shards:{numbered}/shards/{{000000..000005}}.tar', size=32, bs=4, num_workers=2)
    first,second = ([float(o.mean()) for x,_ in stream for o in x] for _ in range(2))
    assert len(first) == 24 and first != second and sorted(first) == pytest.approx(sorted(second))


def test_pretraining_on_shards_with_a_damaged_member(numbered, pictures, tmp_path):
    hurt = tmp_path/'hurt.tar'
    (tmp_path/'bad.png').write_bytes((numbered/'pictures'/'03.png').read_bytes()[:70])
    with tarfile.open(hurt, 'w') as tar:
        for k in range(12): tar.add(numbered/'pictures'/f'{k:02}.png', f'{k:02}.png')
        tar.add(tmp_path/'bad.png', '99.png')
    result = aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', '--pretrain', f'shards:{hurt}', '--classifiers', 'R', '--epochs', '1,2,1', '--size', '32')
    assert result.returncode == 0, result.stderr
    assert f'1 damaged, left out: {hurt}/99.png' in result.stdout
    assert not [p for p in (tmp_path/'studies').rglob('*') if '.part' in p.name]


def test_what_is_left_out_of_a_folder_is_noted(numbered, pictures, tmp_path):
    for k in range(9): (tmp_path/f'{k:02}.png').write_bytes((numbered/'pictures'/f'{k:02}.png').read_bytes())
    for name in ('._00.png', 'x.raw', 'list.txt'): (tmp_path/name).touch()
    note = 'left out: 1 hidden, 2 not named like pictures'
    assert unlabelled(f'folder:{tmp_path}', 32, 4).notes == [note] and unlabelled(f'folder:{numbered/"pictures"}', 32, 4).notes == []
    config = Config(data=f'folder:{pictures}', classifiers={'L': 'small/lenet5'}, size=32, pretrain=f'folder:{tmp_path}')
    assert Workspace(config, tmp_path/'study', 'cpu').check().notes == [f'folder:{tmp_path}: {note}']


def test_shards_from_the_command_line(numbered, tmp_path):
    result = aeclf(tmp_path, 'shards', numbered/'pictures', '--out', 'packed', '--per', '10')
    assert result.returncode == 0 and '--pretrain "shards:packed/{000000..000002}.tar"' in result.stdout
    assert [len(tarfile.open(p).getnames()) for p in sorted((tmp_path/'packed').iterdir())] == [10, 10, 4]
    one_line(aeclf(tmp_path, 'shards', numbered/'pictures', '--out', 'packed'), 'packed', 'another folder')
    one_line(aeclf(tmp_path, 'shards', 'nowhere', '--out', 'more'), 'nowhere', 'no such folder')
    assert [p.name for p in tmp_path.iterdir()] == ['packed']


@pytest.mark.parametrize('args, words', [
    (['--pretrain', 'shards:none/{0..3}.tar'], ['none/0.tar', 'no such shard']),
    (['--pretrain', 'shards:'], ['names no shard']),
    (['--pretrain', 'shards:text.tar'], ['text.tar', 'not a readable tar file']),
    (['--pretrain', 'folder:empty'], ['empty', 'no images']),
    (['--pretrain', 'photos'], ["'photos'", 'choose from']),
    (['--data', 'imagenet:nowhere'], ['nowhere', 'no such folder']),
    (['--data', 'imagenet:classes'], ['train', 'not ImageNet']),
    (['--data', 'cifar10:classes'], ['classes', 'no whole CIFAR-10 here']),
    (['--data', 'folder:zero'], ['00.png', 'cannot be read'])])
def test_mistakes(tmp_path, args, words):
    (tmp_path/'empty').mkdir()
    (tmp_path/'text.tar').write_text('not a tar file')
    for name in ('classes/train/cat', 'classes/val/cat', 'zero/cat', 'zero/dog'):
        (tmp_path/name).mkdir(parents=True)
        for k in range(2): (tmp_path/name/f'{k:02}.png').touch()
    before = sorted(tmp_path.rglob('*'))
    one_line(aeclf(tmp_path, 'run', *args), *words)
    assert sorted(tmp_path.rglob('*')) == before


def test_uneven_shards_are_read_whole_by_two_workers(tmp_path):
    (tmp_path/'pictures').mkdir()
    for k in range(101): Image.new('RGB', (20, 20), (k,)*3).save(tmp_path/'pictures'/f'{k}.png')
    stream = unlabelled('shards:'+write_shards(tmp_path/'pictures', tmp_path/'shards', per=100), size=32, bs=4, num_workers=2)
    for _ in range(2): assert sum(len(x) for x,_ in stream) == 100 == 4*len(stream)


def test_shards_stopped_half_way_leave_nothing(numbered, tmp_path, monkeypatch):
    import aeclf.unlabelled
    whole = aeclf.unlabelled._add_file
    def stopped(tar, file, stem):
        if file.name == '20.png': raise KeyboardInterrupt
        whole(tar, file, stem)
    monkeypatch.setattr(aeclf.unlabelled, '_add_file', stopped)
    with pytest.raises(KeyboardInterrupt): write_shards(numbered/'pictures', tmp_path/'shards', per=4)
    assert list(tmp_path.iterdir()) == []

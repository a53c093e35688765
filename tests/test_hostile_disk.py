"Drives that are full, limited, read-only or gone: one line says which file and why, and every file is the old one or the new one."
import errno, os, shutil, subprocess
from types import SimpleNamespace

import pytest
from fastai.callback.core import Callback

from aeclf import store
from aeclf.config import Config
from aeclf.paper import TABLE2
from aeclf.store import BadInput
from aeclf.study import Study
from aeclf.tables import write_table
from conftest import aeclf, command, one_line

resource = pytest.importorskip('resource')   # not on Windows
tiny = ['--size', '32', '--classifiers', 'L', '--epochs', '1,1,1', '--set', 'panels=1', '--set', 'watch=8']
settings = dict(classifiers={'L': 'small/lenet5'}, size=32, quick=True, widths=(4, 8), convs=(1, 1), panels=1, watch=8,
                epochs=dict(classifiers=1, autoencoder=1, decoders=1))


@pytest.fixture
def at_most():
    "A function after which no file can grow beyond so many bytes; the limit ends with the test."
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope='module')
def finished(pictures):
    "A finished study of one classifier, with the command that made it."
    where = pictures.parent/'hostile'
    args = ['run', '--data', f'folder:{pictures}', *tiny, '--out', where]
    assert aeclf(pictures.parent, *args).returncode == 0
    return SimpleNamespace(path=where, args=args)


def contents(folder):
    "Every file below a folder, hidden ones too, and what it holds."
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def results(held):
    "Without what a study keeps of its own way: the ledger, and stages that are not finished."
    return {name: o for name,o in held.items() if name != 'stages.json' and not name.startswith('unfinished')}


def refused(result, *words):
    "A run that ended with exit code 2 and one line on stderr with these words."
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and all(o in lines[0] for o in words), lines


@pytest.fixture
def drive_refuses(monkeypatch):
    "A function after which the drive takes only half of one file, and says so with the number of an error."
    hand = store._hand_to_drive
    def refuse(file, number):
        def half(part):
            if part.name != f'.{file.stem}.{os.getpid()}.part{file.suffix}' or part.parent != file.parent: return hand(part)
            os.truncate(part, part.stat().st_size//2)
            raise OSError(number, os.strerror(number))
        monkeypatch.setattr(store, '_hand_to_drive', half)
    yield refuse
    monkeypatch.setattr(store, '_hand_to_drive', hand)


@pytest.mark.parametrize('file, number, words', [
    ('history/L.csv', errno.ENOSPC, 'no space is left on the drive; make room there'), ('classifiers/L.safetensors', errno.EFBIG, 'files may not be so large here; raise the limit'),
    ('autoencoder/S.safetensors', errno.EIO, 'the drive has failed; try another one'), ('decoders/L.safetensors', errno.EDQUOT, 'the quota is used up; make room within it'),
    ('provenance.json', errno.EROFS, 'the drive is read-only; choose a folder'), ('crosseval/ranks.npy', errno.ENOSPC, 'no space is left'),
    ('rrc.csv', errno.EACCES, 'the right to write there is missing; give it'), ('evidence/chance.csv', errno.ENOSPC, 'no space is left'),
    ('figures/artefacts.png', errno.ENOSPC, 'no space is left'), ('figures/accuracy.png', errno.ESTALE, 'mend that'), ('report.html', errno.ENOSPC, 'no space is left')])
def test_a_file_that_cannot_be_written_whole(finished, drive_refuses, monkeypatch, file, number, words):
    before = contents(finished.path)
    if file != 'report.html': (finished.path/file).unlink()
    drive_refuses(finished.path/file, number)
    refused(aeclf(finished.path.parent, *finished.args), f'{finished.path/file}: cannot be written, ', words)
    now,kept = results(contents(finished.path)),results(before)
    if file != 'report.html': del kept[file]
    assert now == kept
    monkeypatch.undo()
    result = aeclf(finished.path.parent, *finished.args)
    assert result.returncode == 0, result.stderr
    again = contents(finished.path)
    assert set(again) == set(before) and (again[file] == before[file] or file in ('provenance.json', 'report.html'))


def test_a_new_study_leaves_nothing(tmp_path, pictures, at_most):
    at_most(50)
    result = aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', *tiny, '--out', 'new')
    at_most(-1)
    one_line(result, 'new/study.toml: cannot be written')
    assert contents(tmp_path) == {}


def test_limits_in_the_middle_of_a_study(tmp_path, pictures, at_most):
    "Whichever file is the first that is too large: one line, nothing half written, and the study ends as if nothing had been."
    args = ['run', '--data', f'folder:{pictures}', *tiny, '--out', 'limited']
    for size in (5_000, 50_000, 500_000):
        at_most(size)
        result = aeclf(tmp_path, *args)
        at_most(-1)
        refused(result, 'limited/', ': cannot be written, ')
        assert not list((tmp_path/'limited').rglob('*.part*'))
    assert aeclf(tmp_path, *args).returncode == 0


def test_room_is_known_before_anything_is_written(tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: SimpleNamespace(free=2_000_000))
    result = aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', *tiny, '--out', 'new')
    one_line(result, 'new: needs about ', ' MB, 2 MB are free there; make room, or choose another folder (--out)')
    assert contents(tmp_path) == {}


def test_the_room_of_the_default_study():
    study = Study(Config(), 'nowhere', 'cpu')
    weights = study._weight_bytes()
    assert sum(weights.values()) == pytest.approx(7_212_284, rel=0.01)   # of the files of such a study
    images,pictures = 1040,4_400_000   # its panels and charts
    assert pictures/1.5 < study._other_bytes()['figures/panels/overview.png'] < 1.5*pictures
    assert study.room_needed(3) > 2.5*sum(weights.values())


class Vanishes(Callback):
    "Removes the folder of a study in the middle of a training."
    def after_train(self): shutil.rmtree(self.learn.path.parent.parent)


@pytest.mark.parametrize('how', ['between stages', 'in a training', 'in the evidence'])
def test_a_folder_that_vanishes(tmp_path, monkeypatch, how):
    where,done = tmp_path/'gone',[]
    def note(name, *rest):
        done.append(name)
        if how == 'between stages' and name == 'classifier L': shutil.rmtree(where)
    if how == 'in the evidence': monkeypatch.setattr('aeclf.results.gone_wrong', lambda *args: shutil.rmtree(where))
    study = Study(Config(**settings), where, 'cpu', cbs=[Vanishes] if how == 'in a training' else ())
    with pytest.raises(BadInput, match='gone: this folder has gone while it was worked in; put it back') as error: study.run(done=note, say=done.append)
    assert not where.exists() and '\n' not in str(error.value)


class Writes(Callback):
    "A callback that keeps what it likes, beside the study's own files."
    def after_fit(self): (self.learn.path/'kept.txt').write_text('a'*9_000_000)


def test_what_callbacks_write(tmp_path, at_most):
    study = Study(Config(**settings), tmp_path/'study', 'cpu', cbs=[Writes])
    study.prepare()
    at_most(5_000_000)
    with pytest.raises(BadInput, match='callbacks/L: cannot be written, files may not be so large here'): study.run(done=lambda *args: None)
    at_most(-1)


def test_shards_that_cannot_be_written(tmp_path, pictures, at_most):
    at_most(1000)
    result = aeclf(tmp_path, 'shards', pictures, '--out', 'shards')
    at_most(-1)
    one_line(result, 'shards: cannot be written, files may not be so large here')
    assert contents(tmp_path) == {} and list(tmp_path.iterdir()) == []


def test_an_output_that_takes_nothing():
    if not os.path.exists('/dev/full'): pytest.skip('no /dev/full')
    with open('/dev/full', 'w') as full: said = subprocess.run([*command, '--version'], stdout=full, stderr=subprocess.PIPE, text=True)
    assert said.returncode == 2 and said.stderr.splitlines() == [
        'aeclf: the output: cannot be written, no space is left on the drive; make room there, and start it again']
    enough = subprocess.run(f'{command[0]} --help | true', shell=True, capture_output=True, text=True)
    assert enough.stderr == ''


@pytest.mark.parametrize('options, words', [('size=64k', 'no space is left on the drive; make room there'), ('ro', 'the drive is read-only; choose a folder')])
def test_a_small_drive(tmp_path, options, words):
    write_table(TABLE2, tmp_path/'table.csv')
    (tmp_path/'drive').mkdir()
    mount = f'mount -t tmpfs -o {options} none drive'
    if shutil.which('unshare') is None or subprocess.run(['unshare', '-rm', 'sh', '-c', mount], cwd=tmp_path, capture_output=True).returncode: pytest.skip('no drives may be mounted here')
    fill = 'head -c 64k /dev/zero > drive/full 2>/dev/null; ' if 'size' in options else ''
    script = f'{mount}; {fill}{command[0]} lattice table.csv --out drive/x.png; echo code $?; ls -A drive'
    result = subprocess.run(['unshare', '-rm', 'sh', '-c', script], cwd=tmp_path, capture_output=True, text=True)
    assert 'drive/x.png: cannot be written, '+words in result.stderr and len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stdout.split() == ['code', '2', *(['full'] if fill else [])]


@pytest.mark.parametrize('options, words', [('size=1m', 'are free there; make room, or choose another folder (--out)'), ('ro', 'the drive is read-only; choose a folder')])
def test_a_study_on_a_small_drive(tmp_path, options, words):
    (tmp_path/'drive').mkdir()
    mount = f'mount -t tmpfs -o {options} none drive'
    if shutil.which('unshare') is None or subprocess.run(['unshare', '-rm', 'sh', '-c', mount], cwd=tmp_path, capture_output=True).returncode: pytest.skip('no drives may be mounted here')
    script = f'{mount}; {command[0]} run --quick --classifiers L --out drive/study; echo code $?; ls -A drive'
    result = subprocess.run(['unshare', '-rm', 'sh', '-c', script], cwd=tmp_path, capture_output=True, text=True)
    assert 'drive' in result.stderr and words in result.stderr and len(result.stderr.splitlines()) == 1, result
    assert result.stdout.split()[-2:] == ['code', '2'], result

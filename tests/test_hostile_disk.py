"Drives that are full, limited, read-only or gone: one line says which file and why, and every file is the old one or the new one."
import json, os, shutil, subprocess
from types import SimpleNamespace

import pytest
from fastai.callback.core import Callback

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


def refused(result, *words):
    "A run that ended with exit code 2 and one line on stderr with these words."
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and all(o in lines[0] for o in words), lines


@pytest.mark.parametrize('file, limit', [
    ('history/L.csv', 20), ('classifiers/L.safetensors', 20_000), ('autoencoder/S.safetensors', 20_000), ('decoders/L.safetensors', 20_000),
    ('provenance.json', 40), ('rrc.csv', 4), ('evidence/chance.csv', 4), ('figures/artefacts.png', 1000), ('figures/accuracy.png', 1000), ('report.html', 10**6)])
def test_a_file_that_cannot_be_written_whole(finished, at_most, file, limit):
    before = contents(finished.path)
    if file != 'report.html': (finished.path/file).unlink()
    at_most(limit)
    result = aeclf(finished.path.parent, *finished.args)
    at_most(-1)
    refused(result, str(finished.path/file), 'cannot be written, files may not be so large here; raise the limit')
    kept = before if file == 'report.html' else {name: held for name,held in before.items() if name != file}
    assert contents(finished.path) == kept
    result = aeclf(finished.path.parent, *finished.args)
    assert result.returncode == 0, result.stderr
    assert contents(finished.path)[file] == before[file] or file in ('provenance.json', 'report.html')


@pytest.mark.parametrize('target, error, words', [
    ('numpy.save', OSError('52 requested and 4 written'), 'not all of it could be written; look for room and limits'),
    ('numpy.save', OSError(28, 'No space left on device'), 'no space is left on the drive; make room there'),
    ('numpy.save', OSError(122, 'Disk quota exceeded'), 'the quota is used up; make room within it'),
    ('numpy.save', PermissionError(13, 'Permission denied', None), 'the right to write there is missing; give it, or choose another folder'),
    ('numpy.save', OSError(5, 'Input/output error'), 'the drive has failed; try another one')])
def test_errors_of_many_kinds(finished, monkeypatch, target, error, words):
    before = contents(finished.path)
    (finished.path/'crosseval'/'ranks.npy').unlink()
    def fail(*args, **kw): raise error
    with monkeypatch.context() as patched:
        patched.setattr(target, fail)
        refused(aeclf(finished.path.parent, *finished.args), 'ranks.npy: cannot be written, ', words)
    assert set(before)-set(contents(finished.path)) == {'crosseval/ranks.npy'}
    assert aeclf(finished.path.parent, *finished.args).returncode == 0
    assert contents(finished.path)['crosseval/ranks.npy'] == before['crosseval/ranks.npy']


def test_a_new_study_leaves_nothing(tmp_path, pictures, at_most):
    at_most(50)
    result = aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', *tiny, '--out', 'new')
    at_most(-1)
    one_line(result, 'new/study.toml: cannot be written')
    assert contents(tmp_path) == {}


def test_a_ledger_that_cannot_be_written_keeps_the_stages_of_before(finished, at_most):
    before = json.loads((finished.path/'stages.json').read_text())
    (finished.path/'rrc.csv').unlink()
    at_most(1024)
    result = aeclf(finished.path.parent, *finished.args)
    at_most(-1)
    assert result.returncode == 2 and 'cannot be written' in result.stderr
    assert json.loads((finished.path/'stages.json').read_text()) == before
    assert aeclf(finished.path.parent, *finished.args).returncode == 0


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
    def after_fit(self): (self.learn.path/'kept.txt').write_text('a'*9000)


def test_what_callbacks_write(tmp_path, at_most):
    study = Study(Config(**settings), tmp_path/'study', 'cpu', cbs=[Writes])
    study.prepare()
    at_most(5000)
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

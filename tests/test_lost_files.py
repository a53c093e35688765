"A finished study from which one file is lost, whichever it is: status says so, and the next run restores it with the same content."
import json, re, shutil

import pytest

from aeclf.study import Study
from conftest import aeclf, without_digests

tiny = ['--classifiers', 'L,R', '--epochs', '1,1,1', '--size', '32', '--controls', '--pretrain', 'folder:without']


@pytest.fixture(scope='module')
def finished(pictures):
    "A small finished study with controls, whose A_S was trained on pictures of its own, one of them broken."
    where = pictures.parent/'whole'
    shutil.copytree(pictures, pictures.parent/'without')
    (pictures.parent/'without'/'broken.png').write_text('no picture')
    result = aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--out', where)
    assert result.returncode == 0, result.stderr
    return where


def files(where):
    "Every file that a stage has left, below the study's folder."
    apart = ('study.toml', 'stages.json', 'report.html', 'notes.txt', 'pictures')   # the last holds what the pictures are known by
    names = [p.relative_to(where) for p in where.rglob('*') if p.is_file()]
    return sorted(str(p) for p in names if p.parts[0] not in apart)


def test_every_file_belongs_to_a_stage(finished):
    study = Study.open(finished, 'cpu')
    left = [f for stage in study.stages for f in stage.leaves]
    assert sorted(left) == files(finished) and len(left) == len(set(left)) > 50


def test_status_names_the_stage_of_any_lost_file(finished):
    study = Study.open(finished, 'cpu')
    stage_of = {f: stage.name for stage in study.stages for f in stage.leaves}
    for file in files(finished):
        (finished/file).rename(finished/'away')
        todo = {name: why for name,entry,why in study.progress() if not entry}
        (finished/'away').rename(finished/file)
        assert todo[stage_of[file]] == f'{file} is lost', file
    assert all(entry for _,entry,_ in study.progress())


@pytest.mark.parametrize('file, stage', [
    ('history/L.csv', 'classifier L'), ('autoencoder/damaged.txt', 'autoencoder S'), ('autoencoder/S.safetensors', 'autoencoder S'), ('history/A_R.csv', 'decoder R'),
    ('controls/N_L.safetensors', 'control N_L'), ('crosseval/predictions.npy', 'cross-evaluation'), ('provenance.json', 'cross-evaluation'),
    ('lattices.csv', 'RRC and lattices'), ('evidence/orders.csv', 'evidence'), ('information.csv', 'quality'), ('figures/border.png', 'figures'),
    ('figures/panels/panel_03.png', 'figures')])
def test_the_next_run_restores_it_and_does_nothing_else(finished, pictures, file, stage):
    before = {f: (finished/f).read_bytes() for f in files(finished)}
    times = {f: (finished/f).stat().st_mtime_ns for f in before if f.endswith('.safetensors')}
    (finished/file).unlink()
    assert re.search(rf'^{stage} +to do \({file} is lost\)$', aeclf(pictures.parent, 'status', finished).stdout, re.M)
    result = aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--out', finished)
    assert result.returncode == 0, result.stderr
    done = [line for line in result.stdout.splitlines() if re.search(r'\(\d+ s\)$', line)]
    assert len(done) == 1 and done[0].startswith(stage)
    assert {f: (finished/f).read_bytes() for f in files(finished)} == before
    trained = {f for f in times if (finished/f).stat().st_mtime_ns != times[f]}
    assert trained <= {f for s in Study.open(finished, 'cpu').stages if s.name == stage for f in s.leaves}


def test_a_study_that_was_copied_is_finished_too(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path/'copy')
    assert 'to do' not in aeclf(tmp_path, 'status', copy).stdout


def test_a_study_from_before_the_list_of_damaged_pictures_is_finished(finished, tmp_path):
    copy = shutil.copytree(finished, tmp_path/'copy')
    (copy/'autoencoder'/'damaged.txt').unlink()
    without_digests(copy)
    entries = json.loads((copy/'stages.json').read_text())
    for without in (lambda left: [f for f in left if f != 'autoencoder/damaged.txt'], None):   # then the versions that did not note what was left
        for entry in entries.values(): entry.update(left=without(entry['left'])) if without else entry.pop('left')
        (copy/'stages.json').write_text(json.dumps(entries))
        assert 'to do' not in aeclf(tmp_path, 'status', copy).stdout


@pytest.mark.parametrize('file, code, words', [
    ('report.html', 0, ['report.html ', 'aeclf report ']), ('stages.json', 0, ['stages.json ', 'restore it', 'does every stage again']),
    ('study.toml', 2, ['study.toml is lost', 'report.html shows the settings', 'run the study anew'])])
def test_files_of_no_stage_are_said_with_the_remedy(finished, tmp_path, file, code, words):
    copy = shutil.copytree(finished, tmp_path/'copy')
    assert not any(word in aeclf(tmp_path, 'status', copy).stdout for word in words)
    (copy/file).unlink()
    result = aeclf(tmp_path, 'status', copy)
    line = (result.stderr or result.stdout).splitlines()[-1]
    assert result.returncode == code and all(word in line for word in words)
    if file == 'study.toml': assert 'study.toml is lost' in aeclf(tmp_path, 'run', '--out', copy).stderr

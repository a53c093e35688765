"Whole studies, as the command line runs them: quick ones on the photographs, and small ones on a folder."
import shutil,signal,subprocess,sys,time

import pandas as pd, pytest

from aeclf.store import digest
from conftest import aeclf, command, one_line

tiny = ['--classifiers', 'L,R', '--epochs', '1,1,1', '--size', '32']


@pytest.fixture(scope='module')
def finished(pictures):
    "A finished study of the pictures, and what its run printed."
    where = pictures.parent/'finished'
    return where, aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--out', where)


def test_quick_run_of_the_default(tmp_path):
    result = aeclf(tmp_path, 'run', '--quick', process=True)
    assert result.returncode == 0, result.stderr
    study = tmp_path/'studies'/'photos'
    assert str(study.relative_to(tmp_path)) in result.stdout and 't = 0.8:' in result.stdout
    accuracy = pd.read_csv(study/'crosseval'/'accuracy.csv', index_col=0)
    assert list(accuracy.index) == ['original', 'S', 'L', 'A', 'V', 'I', 'R'] and list(accuracy.columns) == ['L', 'A', 'V', 'I', 'R']
    assert len(list((study/'figures'/'panels').glob('panel_*.png'))) == 25
    page = (study/'report.html').read_text()
    assert 'quick run' in page and '://' not in page
    assert aeclf(tmp_path, 'lattice', study/'rrc.csv', '--t', '0.8').returncode == 0


def test_a_folder_of_pictures(finished):
    where, result = finished
    assert result.returncode == 0, result.stderr
    assert {p.name for p in where.iterdir()} >= {'study.toml', 'classifiers', 'autoencoder', 'decoders', 'history', 'crosseval', 'rrc.csv', 'figures', 'report.html'}
    assert not [p for p in where.rglob('*') if '.part' in p.name]


def test_a_second_run_does_nothing(finished, pictures):
    where, _ = finished
    weights = {p: p.stat().st_mtime_ns for p in where.rglob('*.safetensors')}
    result = aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--out', where)
    assert result.returncode == 0 and 'nothing was trained' in result.stdout
    assert {p: p.stat().st_mtime_ns for p in where.rglob('*.safetensors')} == weights


def test_same_seed_same_table_and_another_seed_another(finished, pictures):
    where, _ = finished
    for seed,same in ((0, True), (1, False)):
        out = pictures.parent/f'seed{seed}'
        assert aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--seed', seed, '--out', out).returncode == 0
        equal = all((out/f).read_bytes() == (where/f).read_bytes() for f in ('decoders/L.safetensors', 'crosseval/ranks.npy', 'crosseval/accuracy.csv'))
        assert equal == same


def test_stopped_and_gone_on_with(finished, pictures):
    where, _ = finished
    out = pictures.parent/'stopped'
    args = command + ['run', '--data', f'folder:{pictures}', *tiny, '--out', str(out)]
    process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=pictures.parent)
    while not (out/'autoencoder'/'S.safetensors').exists(): time.sleep(0.05); assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and 'the same command goes on where it was' in err and 'Traceback' not in err
    done = aeclf(pictures.parent, 'status', out)
    assert 'to do' in done.stdout and done.returncode == 0
    assert aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--out', out).returncode == 0
    for f in ('decoders/L.safetensors', 'decoders/R.safetensors', 'crosseval/ranks.npy', 'rrc.csv'): assert (out/f).read_bytes() == (where/f).read_bytes()


def test_controls_and_seeds_extend_a_finished_study(finished, pictures):
    where, _ = finished
    out = pictures.parent/'extended'
    shutil.copytree(where, out)
    weights = {p.relative_to(out): digest(p) for p in out.rglob('*.safetensors')}
    args = ['run', '--data', f'folder:{pictures}', *tiny, '--out', out]
    result = aeclf(pictures.parent, *args, '--controls', '--seeds', '2')
    assert result.returncode == 0, result.stderr
    assert {p: digest(out/p) for p in weights} == weights
    assert {p.stem for p in (out/'controls').iterdir()} == {'M', 'N_L', 'N_R'} and (out/'seeds'/'1'/'rrc.csv').is_file()
    assert 'gain of every classifier' in result.stdout and 'RRC over seeds' in result.stdout
    assert list(pd.read_csv(out/'crosseval'/'accuracy.csv', index_col=0).index) == ['original', 'S', 'L', 'R', 'M', 'N_L', 'N_R']
    again = aeclf(pictures.parent, *args)
    assert again.returncode == 0 and 'nothing was trained' in again.stdout
    anew = pictures.parent/'anew'
    result = aeclf(pictures.parent, 'run', '--config', out, '--out', anew)
    assert result.returncode == 0 and f'{out} has control decoders and 2 seeds, so this study gets them too' in result.stdout, result
    for file in ('crosseval/accuracy.csv', 'rrc.csv', 'gains.csv', 'seed_spread.csv', 'seeds.csv', 'seeds/1/rrc.csv'):
        found = [folder/file for folder in (out, anew) if (folder/file).is_file()]
        assert len(found) in (0, 2) and len({o.read_bytes() for o in found}) < 2, file
    assert (anew/'seeds'/'1'/'rrc.csv').is_file() and (anew/'controls').is_dir()
    shutil.rmtree(anew/'seeds')
    for words in ('status', 'verify'): assert 'seeds/1' in aeclf(pictures.parent, words, anew).stdout
    assert aeclf(pictures.parent, 'verify', anew).returncode == 1


def test_planted_cues(tmp_path):
    result = aeclf(tmp_path, 'run', '--data', 'cues', '--quick', '--classifiers', 'hue-V=small/vgg,grating-V=small/vgg')
    assert result.returncode == 0, result.stderr
    assert (tmp_path/'studies'/'cues'/'recovery.csv').is_file() and 'recovery' in result.stdout
    one_line(aeclf(tmp_path, 'run', '--data', 'cues', '--classifiers', 'V', '--out', 'x'), "'V'", 'hue-V')
    assert not (tmp_path/'x').exists()


def test_another_configuration_is_refused(finished, pictures):
    where, _ = finished
    one_line(aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--seed', 5, '--out', where), 'seed is 0 there and 5 here', 'another folder')


def test_bad_images(pictures, tmp_path):
    bad = tmp_path/'bad'
    for name in ('a', 'b'): (bad/name).mkdir(parents=True)
    one_line(aeclf(tmp_path, 'run', '--data', f'folder:{bad}'), 'bad', 'no classes')
    whole = (pictures/'coffee'/'02.png').read_bytes()
    (bad/'a'/'x.png').write_bytes(whole)
    one_line(aeclf(tmp_path, 'run', '--data', f'folder:{bad}'), 'nothing in it', 'a class needs pictures')
    (bad/'b'/'y.png').write_bytes(whole[:600])
    one_line(aeclf(tmp_path, 'run', '--data', f'folder:{bad}'), 'only one image', 'at least two')
    for name in ('a', 'b'): (bad/name/'z.png').write_bytes(whole)
    one_line(aeclf(tmp_path, 'run', '--data', f'folder:{bad}'), 'y.png', 'cannot be read')
    assert not (tmp_path/'studies').exists()


@pytest.mark.parametrize('args, words', [
    (['run', '--data', 'folder:nowhere'], ['nowhere', 'no such folder']),
    (['run', '--data', 'photo'], ["'photo'", "did you mean 'photos'"]),
    (['run', '--classifiers', 'L,X'], ["'X'", 'choose from']),
    (['run', '--device', 'meta'], ['meta', 'use auto or cpu']),
    (['run', '--classifiers', '=small/vgg'], ["''", 'a name becomes a file']),
    (['run', '--size', '60'], ['60', 'multiple of']),
    (['run', '--size', 'big'], ['--size', 'integer']),
    (['rum'], ['rum', "did you mean 'run'"]),
    (['run', '--sead', '1'], ['--sead', '--seed']),
    (['lattice', 'none.csv'], ['none.csv', 'no such file']),
    (['status', '.'], ['no study.toml']),
    (['report', '.'], ['no study.toml'])])
def test_mistakes_take_one_line_and_leave_nothing(tmp_path, args, words):
    one_line(aeclf(tmp_path, *args), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('text, words', [(',L,A\nL,1,\nA,.5,1\n', ['row L, column A', 'empty']), (',L\nL,high\n', ["'high'", 'not a number'])])
def test_bad_tables(tmp_path, text, words):
    (tmp_path/'t.csv').write_text(text)
    one_line(aeclf(tmp_path, 'lattice', 't.csv'), 't.csv', *words)
    assert [p.name for p in tmp_path.iterdir()] == ['t.csv']
    (tmp_path/'t.csv').write_text(',L\nL,1\n')
    one_line(aeclf(tmp_path, 'lattice', 't.csv', '--t', '-0.5'), '-0.5', '≥ 0')


def test_weights_that_do_not_fit(tmp_path):
    import torch,torchvision
    torch.save(torchvision.models.resnet18(num_classes=5).state_dict(), tmp_path/'five.pth')
    (tmp_path/'half.pth').write_bytes((tmp_path/'five.pth').read_bytes()[:5000])
    torch.save({'model': print}, tmp_path/'code.pth')
    for weights,words in (('five.pth', 'the file is for 5 classes, 13 are wanted'), ('half.pth', 'not a whole file of weights'), ('code.pth', 'nothing in it is executed'), ('none.pth', 'no such file')):
        one_line(aeclf(tmp_path, 'run', '--classifiers', f'torchvision/resnet18:{weights}'), weights, words)
    one_line(aeclf(tmp_path, 'run', '--classifiers', 'torchvision/alexnet:five.pth'), 'five.pth', 'another network')
    one_line(aeclf(tmp_path, 'run', '--autoencoder', 's2snets:five.pth'), 'five.pth', 'missing')
    one_line(aeclf(tmp_path, 'run', '--size', '299', '--classifiers', 'I'), '299', 'multiple of 32')
    assert not (tmp_path/'studies').exists()


@pytest.mark.parametrize('out', ['notes.txt', 'empty/../notes.txt'])
def test_a_file_is_no_place_for_a_study(tmp_path, out):
    (tmp_path/'notes.txt').touch()
    (tmp_path/'empty').mkdir()
    one_line(aeclf(tmp_path, 'run', '--out', out), f'{out}: exists and is not a study; choose another folder')


def test_help_needs_no_torch(tmp_path):
    code = "import sys; from aeclf.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit as e: assert not e.code\nassert not {'torch', 'fastai'} & set(sys.modules)"
    (tmp_path/'t.csv').write_text(',L,A\nL,1,0.9\nA,.5,1\n')
    for args in (['--help'], ['run', '--help'], ['lattice', 't.csv', '--t', '0.8']):
        subprocess.run([sys.executable, '-c', code, *args], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path/'t_t0.8.png').exists()

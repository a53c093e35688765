"What decides a result belongs to the study: files of one's own, weights and pictures are known again, and read nowhere else."
import os, shutil

import numpy as np, pytest, torch
from PIL import Image

from aeclf.classifiers import Classifier, classifier
from aeclf.config import configure, read_config, write_config
from aeclf.store import BadInput, digest
from aeclf.stages import run_stages
from aeclf.study import Study, accept
from conftest import aeclf, one_line, without_digests

net = 'from torch import nn\nfrom heads import head\ndef make(n_classes): return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.{}(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), head(n_classes))\n'
head = 'from torch import nn\ndef head(n_classes): return nn.Linear(16, n_classes{})\n'
args = ['run', '--data', 'folder:pics', '--classifiers', 'mine=nets.py:make,ready=nets.py:make:w.pth', '--size', 32, '--epochs', '1,1,1', '--out', 'study']


def save_picture(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (40, 40, 3), np.uint8)).save(path)


def save_weights(path, seed):
    torch.manual_seed(seed)
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(16, 2)).state_dict(), path)


def write_all(where, activation='ReLU', bias='', weights=0, first=0):
    "The files of a user in the folder `where`."
    for k in range(12): save_picture(where/'pics'/('owl', 'tit')[k%2]/f'{k}.png', k+first)
    (where/'nets.py').write_text(net.format(activation))
    (where/'heads.py').write_text(head.format(bias))
    save_weights(where/'w.pth', weights)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "A finished study beside the files that it names, and what its run printed."
    where = tmp_path_factory.mktemp('whole')
    write_all(where)
    return where, aeclf(where, *args)


@pytest.fixture
def home(whole, tmp_path):
    "The same in a folder of its own, as if it had been run there."
    where = shutil.copytree(whole[0], tmp_path/'home')
    toml = where/'study'/'study.toml'
    toml.write_text(toml.read_text().replace(str(whole[0]), str(where)))
    accept(where/'study', ['study.toml'])
    return where


@pytest.fixture
def away(tmp_path):
    "Another working directory, in which everything has the same name and is another thing."
    (tmp_path/'away').mkdir()
    write_all(tmp_path/'away', 'Tanh', ', bias=False', 1, 100)
    return tmp_path/'away'


def answer(cwd, study):
    "What the networks of a study say of a picture, and what was said beside."
    save_picture(cwd/'asked.png', 7)
    result = aeclf(cwd, 'reconstruct', 'asked.png', '--study', study, '--device', 'cpu')
    assert result.returncode == 0, result.stderr
    return result.stdout.split('\n\n')[0], result.stderr


def test_a_study_keeps_what_it_knows_its_files_by(whole):
    where, result = whole
    assert result.returncode == 0, result.stderr
    files = read_config(where/'study'/'study.toml').files
    assert set(files) == {'nets.py', 'w.pth', 'pics'} and {e['path'] for e in files.values()} == {str(where/n) for n in files}
    assert list(files['nets.py']['imports']) == ['heads.py'] and len(files['w.pth']['digest']) == 64
    kept = [p for p in (where/'study'/'code').rglob('*') if p.is_file()]
    assert {p.name: p.read_text() for p in kept} == {n: (where/n).read_text() for n in ('nets.py', 'heads.py')}
    assert result.stdout.count('executes nets.py:make (digest ') == 1 and ' with heads.py' in result.stdout
    page = (where/'study'/'report.html').read_text()
    assert files['nets.py']['digest'] in page and str(where) not in page
    again = aeclf(where, *args)
    assert 'nothing was trained' in again.stdout and 'differ' not in again.stdout and 'taken as' not in again.stdout


changes = {'nets.py': lambda home: (home/'nets.py').write_text(net.format('Tanh')),
           'heads.py, which nets.py imports,': lambda home: (home/'heads.py').write_text(head.format(', bias=False')),
           'w.pth': lambda home: save_weights(home/'w.pth', 1)}


@pytest.mark.parametrize('file', changes)
def test_a_changed_file_is_refused_by_run_and_the_study_answers_as_before(home, file):
    before = answer(home, 'study')[0]
    changes[file](home)
    one_line(aeclf(home, *args), 'study: ', f'{file} has changed since this study began', 'put it back', '--out')
    said, beside = answer(home, 'study')
    assert said == before and f'{file} has changed' in beside.replace(f'{home}/', '')
    assert aeclf(home, 'report', 'study').returncode == 0


@pytest.mark.parametrize('gone', [['nets.py'], ['heads.py'], ['w.pth'], ['nets.py', 'heads.py', 'w.pth', 'pics']])
def test_a_file_that_is_gone_is_not_needed(home, gone):
    before = answer(home, 'study')[0]
    for name in gone: shutil.rmtree(home/name) if name == 'pics' else (home/name).unlink()
    assert answer(home, 'study')[0] == before
    again = aeclf(home, *args)
    assert again.returncode == 0 and 'nothing was trained' in again.stdout


def test_a_namesake_in_another_working_directory_is_never_read(home, away):
    before = answer(home, 'study')[0]
    assert answer(away, home/'study')[0] == before
    one_line(aeclf(away, *args[:-1], home/'study'), 'nets.py is', str(away), str(home), 'the two differ')
    study = Study.open(home/'study', 'cpu', say=lambda words: None)
    with chdir(away): assert all(str(home) in str(f) for f, _ in study.images.valid_ds.items) and study.place('w.pth') == str(home/'w.pth')
    for name in ('nets.py', 'heads.py', 'w.pth'): (home/name).unlink()
    assert answer(away, home/'study')[0] == before
    shutil.rmtree(home/'pics')
    with chdir(away), pytest.raises(BadInput, match=f'{home}/pics: no such folder'): Study.open(home/'study', 'cpu', say=lambda words: None).images


def chdir(where):
    import contextlib
    return contextlib.chdir(where)


def test_the_command_goes_on_from_where_the_files_are_not(home, tmp_path):
    (tmp_path/'empty').mkdir()
    again = aeclf(tmp_path/'empty', *args[:-1], home/'study')
    assert again.returncode == 0 and 'nothing was trained' in again.stdout and 'differ' not in again.stdout
    one_line(aeclf(tmp_path/'empty', *args[:-1], tmp_path/'new'), 'pics: no such folder')


def test_a_study_as_a_preset_brings_its_files(home, tmp_path):
    (tmp_path/'empty').mkdir()
    again = aeclf(tmp_path/'empty', 'run', '--preset', home/'study'/'study.toml', '--out', home/'study')
    assert again.returncode == 0, again.stderr
    assert 'nothing was trained' in again.stdout and again.stdout.startswith('executes nets.py:make')
    changes['w.pth'](home)
    result = aeclf(tmp_path/'empty', 'run', '--preset', home/'study'/'study.toml', '--out', tmp_path/'new')
    assert result.returncode == 2 and 'w.pth has changed since this study began' in result.stderr and not (tmp_path/'new').exists()


def test_what_moved_as_a_whole_is_found_where_it_is(home, tmp_path):
    there = (tmp_path/'home').rename(tmp_path/'there')
    again = aeclf(there, *args)
    assert again.returncode == 0 and 'nothing was trained' in again.stdout and 'differ' not in again.stdout
    with chdir(there): assert len(Study.open('study', 'cpu', say=lambda words: None).images.valid_ds) == 2


@pytest.mark.parametrize('command', [['status', 'study'], ['report', 'study'], args])
def test_opening_says_what_is_executed(home, command):
    result = aeclf(home, *command)
    assert (result.stdout+result.stderr).count('executes nets.py:make (digest ') == 1


def test_opening_executes_nothing(home, capsys):
    for file in [home/'nets.py', *(home/'study'/'code').rglob('nets.py')]: file.write_text('1/0')
    assert aeclf(home, 'status', 'study').returncode == 0
    assert 'to do' not in aeclf(home, 'status', 'study').stdout
    study = Study.open(home/'study', 'cpu')
    assert 'executes nets.py:make' in capsys.readouterr().out
    with pytest.raises(BadInput, match='nets.py has changed since this study began, and the study has no copy'): study.classifier('mine')


def touch(home):
    for p in (home/'pics').rglob('*.png'): os.utime(p, (1, 1))


def note(home): (home/'pics'/'notes.txt').write_text('not a picture')


def add(home): save_picture(home/'pics'/'owl'/'new.png', 50)


def remove(home): (home/'pics'/'owl'/'2.png').unlink()


def edit(home):
    same_size = (home/'pics'/'tit'/'1.png')
    same_size.write_bytes(same_size.read_bytes()[:-1]+b'!')


def all_three(home):
    for change in (add, remove, edit): change(home)


@pytest.mark.parametrize('change, words', [(touch, ''), (note, ''), (add, '1 picture differs from what this study took (1 added; first owl/new.png)'),
                                           (remove, '1 picture differs from what this study took (1 removed; first owl/2.png)'), (edit, '(1 edited; first tit/1.png)'),
                                           (all_three, '3 pictures differ from what this study took (1 added, 1 removed, 1 edited; first owl/2.png)')])
def test_changed_pictures_are_said_in_one_line(home, change, words):
    change(home)
    for command in (['status', 'study'], args):
        result = aeclf(home, *command)
        said = [line for line in result.stdout.splitlines() if 'differ' in line]
        assert result.returncode == 0 and len(said) == bool(words), result
        assert not words or said[0].startswith('folder:pics: ') and words in said[0] and 'begin another study (--out)' in said[0]
    study = Study.open(home/'study', 'cpu', say=lambda words: None)
    if not words: assert len(study.images.valid_ds) == 2
    else:
        with pytest.raises(BadInput, match='differ'): study.images


def test_what_is_asked_often_is_read_once(home, monkeypatch):
    touch(home)
    aeclf(home, 'status', 'study')
    monkeypatch.setattr('aeclf.stages.file_digest', lambda path: pytest.fail(f'{path} was read'))
    study = Study.open(home/'study', 'cpu', say=lambda words: None)
    assert study.pictures_words('data') == ''


def test_a_report_of_changed_pictures_shows_none_of_them(home):
    edit(home)
    result = aeclf(home, 'report', 'study')
    assert result.returncode == 0 and '1 picture differs' in result.stderr
    with pytest.raises(BadInput, match='1 picture differs'): Study.open(home/'study', 'cpu').panel(0)


def of_before(study):
    "Make it a study of before: nothing is known of its files."
    config = read_config(study/'study.toml')
    config.files.clear()
    write_config(config, study/'study.toml')
    for name in ('code', 'pictures'): shutil.rmtree(study/name)
    without_digests(study)


def test_a_study_of_before_is_finished_and_takes_its_files_once(home):
    before = answer(home, 'study')[0]
    of_before(home/'study')
    status = aeclf(home, 'status', 'study')
    assert 'to do' not in status.stdout and 'executes nets.py:make' in status.stdout
    assert answer(home, 'study')[0] == before and not (home/'study'/'code').exists()
    first, second = aeclf(home, *args), aeclf(home, *args)
    assert first.stdout.count('taken as they are now') == 1 and 'nets.py, w.pth, pics: ' in first.stdout
    assert 'nothing was trained' in first.stdout and 'taken as' not in second.stdout
    changes['nets.py'](home)
    one_line(aeclf(home, *args), 'nets.py has changed')


@pytest.fixture
def begun(tmp_path):
    "A study that was checked, and of which nothing is trained yet."
    where = tmp_path/'begun'
    where.mkdir()
    write_all(where)
    from aeclf.config import configure
    with chdir(where): Study(configure(*args[2:5:2], 32, '1,1,1'), 'study', 'cpu').prepare()
    return where


def test_between_check_and_training(begun, away):
    quiet = dict(done=lambda *a: None, say=lambda words: None)
    study = Study.open(begun/'study', 'cpu', say=lambda words: None)
    for name in ('nets.py', 'heads.py'): shutil.copy(away/name, begun/name)
    changes['w.pth'](begun)
    add(begun)   # nothing was trained: the pictures are taken anew
    with chdir(away), pytest.raises(BadInput, match='w.pth has changed since this study began'): study.run(**quiet)
    assert list(study.ledger.entries) == [] and isinstance(study.initial('mine').net[1], torch.nn.ReLU)   # nothing is trained in vain
    save_weights(begun/'w.pth', 0)
    study.prepare()
    run_stages(study.ledger, study.stages[:1], done=lambda *a: None)
    edit(begun)
    with chdir(away), pytest.raises(BadInput, match='1 picture differs'): study.run(**quiet)
    assert list(study.ledger.entries) == ['classifier mine']


def test_repetitions_know_the_files_of_the_study_that_they_repeat(home):
    again = Study.open(home/'study', 'cpu', say=lambda words: None)
    changes['nets.py'](home)
    other, = again.repeated(2)
    assert isinstance(other.initial('mine').net[1], torch.nn.ReLU)
    other.prepare()
    assert not (other.path/'code').exists() and not (other.path/'pictures').exists()
    edit(home)
    with pytest.raises(BadInput, match='1 picture differs'): other.run(done=lambda *a: None)
    assert list(other.ledger.entries) == []


@pytest.mark.parametrize('moved', [False, True])
def test_shards_are_known_too(tmp_path, moved):
    from aeclf.config import configure
    where = tmp_path/'where'
    write_all(where)
    assert aeclf(where, 'shards', 'pics', '--out', 'shards', '--per', 4).returncode == 0
    config = configure('photos', 'L', 32, '1,1,1', quick=True, pretrain='shards:shards/{000000..000002}.tar')
    with chdir(where): Study(config, 'study', 'cpu').prepare()
    if moved: where = where.rename(tmp_path/'there')
    with chdir(where if moved else tmp_path):
        study = Study.open(where/'study', 'cpu')
        for p in (where/'shards').iterdir(): p.touch()
        assert study.pictures_words('pretrain') == '' and len(study.pictures_now('pretrain')[1]) == 3
        (where/'shards'/'000001.tar').write_bytes(b'')
        assert '1 shard differs from what this study took (1 edited; first 000001.tar)' in study.pictures_words('pretrain')
        with pytest.raises(BadInput, match='1 shard differs'): study.pretraining()


def test_modules_beside_two_files_do_not_mix(tmp_path):
    from aeclf.classifiers import classifier
    for name, bias in (('a', ''), ('b', ', bias=False')): (tmp_path/name).mkdir(), write_all(tmp_path/name, bias=bias)
    has_bias = lambda name: classifier(f'{tmp_path/name}/nets.py:make', 2).net[-1].bias is not None
    assert [has_bias(n) for n in 'abab'] == [True, False, True, False]


def small_net(activation='ReLU', stride=4):
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 5, stride), getattr(torch.nn, activation)(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(16, 2)
    return torch.nn.Sequential(*layers)


def whitened(k):
    "A network whose constant stands in no state."
    net = small_net()
    net.register_buffer('constant', torch.full((2,), float(k)), persistent=False)
    return net


@pytest.fixture
def handed(tmp_path, pictures):
    "A study of one network that was handed over, made and not yet run: its settings, folder and network."
    config, mine = configure(data=f'folder:{pictures}', classifiers='V', size=32, epochs='1,1,1'), Classifier(small_net(), 0., 1., size=16, classes=['chelsea', 'coffee'])
    Study(config, tmp_path/'study', 'cpu', networks={'mine': mine}).prepare()
    return config, tmp_path/'study', mine


@pytest.mark.parametrize('other', [
    dict(size=24), dict(size=None), dict(interpolation='bicubic'), dict(classes=['coffee', 'chelsea']), dict(classes=None), dict(mean=0.5),
    dict(net=small_net('Tanh')), dict(net=small_net(stride=3)), dict(net=whitened(1))], ids=str)
def test_what_is_around_the_weights_belongs_to_a_network(handed, other):
    config, folder, mine = handed
    known = dict(net=small_net(), mean=0., std=1., size=16, classes=['chelsea', 'coffee'])
    assert Study(config, folder, 'cpu', networks={'mine': Classifier(**known)}).handed_network('mine').size == 16
    with pytest.raises(BadInput, match='another configuration .classifiers mine is '):
        Study(config, folder, 'cpu', networks={'mine': Classifier(**known | other)})


def test_constants_without_a_state_tell_networks_apart():
    names = [Study(configure(classifiers='V'), 'nowhere', 'cpu', networks={'mine': whitened(k)}).config.classifiers['mine'] for k in (1, 2, 2)]
    assert names[0] != names[1] == names[2]


def test_a_study_of_before_goes_on_with_its_network(handed):
    "Its file has the digest of the weights alone."
    config, folder, mine = handed
    toml, older = folder/'study.toml', f'given:{digest(mine)[:16]}'
    toml.write_text(toml.read_text().replace(read_config(toml).classifiers['mine'], older))
    accept(folder, ['study.toml'])
    for study in (Study(config, folder, 'cpu', networks={'mine': mine}), Study.open(folder, 'cpu', networks={'mine': mine})):
        assert study.config.classifiers['mine'] == older and digest(study.handed_network('mine')) == digest(mine)
    assert study.add('mine', mine).config.classifiers['mine'] == older


body = 'def make(n_classes): return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, n_classes))\n'


@pytest.mark.parametrize('files, words', [
    ({'sub/nets.py': 'from layers_x import nn\n'+body, 'layers_x.py': 'from torch import nn\n'}, 'imports layers_x from {}/layers_x.py'),
    ({'sub/nets.py': 'def make(n_classes):\n    import layers_x\n    return layers_x.make(n_classes)\n', 'layers_x.py': 'from torch import nn\n'+body}, 'imports layers_x from {}/layers_x.py'),
    ({'sub/nets.py': 'from near import nn\n'+body, 'sub/near.py': 'from all_of.layers_x import nn\n', 'all_of/layers_x.py': 'from torch import nn\n'}, 'imports all_of from {}/all_of/layers_x.py'),
    ({'sub/nets.py': 'from sub.layers_x import nn\n'+body, 'sub/layers_x.py': 'from torch import nn\n'}, 'imports sub from {}/sub/layers_x.py'),
    ({'sub/nets.py': f'import sys\nsys.path.append(__file__.rpartition("/")[0]+"/lib")\nfrom layers_x import nn\n{body}', 'sub/lib/layers_x.py': 'from torch import nn\n'}, 'imports layers_x from {}/sub/lib/layers_x.py'),
    ({'sub/nets.py': 'from layers_x import nn\nimport torchvision, yaml, aeclf.data\n'+body, 'sub/layers_x.py': 'from torch import nn\n', 'layers_x.py': '1/0'}, '')])
def test_code_that_lies_elsewhere_is_refused_before_anything_is_trained(tmp_path, monkeypatch, files, words):
    "What is found by way of Python's path alone would be another network, or none, in another working directory."
    import sys
    for k in range(12): save_picture(tmp_path/'pics'/('owl', 'tit')[k%2]/f'{k}.png', k)
    for name, text in files.items():
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_text(text)
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    before = set(sys.modules)
    with chdir(tmp_path): study = Study(configure('folder:pics', 'sub/nets.py:make', 32, '0,0,0'), 'study', 'cpu')
    try:
        with chdir(tmp_path):
            if not words: return study.prepare()
            with pytest.raises(BadInput, match=words.format(tmp_path)+', which a study cannot keep; put .* beside sub/nets.py'): study.prepare()
            assert not (tmp_path/'study').exists()
    finally:
        for name in set(sys.modules)-before:
            if name.partition('.')[0] in ('layers_x', 'all_of', 'sub'): del sys.modules[name]


def test_what_is_installed_from_its_sources_may_be_imported(tmp_path, monkeypatch):
    import sys
    from aeclf.classifiers import imports_from_elsewhere
    for name in ('installed', 'own'): (tmp_path/name).mkdir()
    (tmp_path/'site-packages').mkdir()
    for name in ('installed', 'own'): (tmp_path/name/f'layers_{name}.py').touch()
    (tmp_path/'site-packages'/'layers.pth').write_text(f'import sys\n{tmp_path}/installed\n')
    (tmp_path/'nets.py').write_text('import layers_installed, layers_own\n')
    monkeypatch.setattr(sys, 'path', [*sys.path, *(str(tmp_path/name) for name in ('site-packages', 'installed', 'own'))])
    assert imports_from_elsewhere(tmp_path/'nets.py') == {'layers_own': tmp_path/'own'/'layers_own.py'}


@pytest.mark.parametrize('line, words', [('torch.load(Path(__file__).parent/"w.pth")', 'give weights after the function, FILE.py:FUNCTION:WEIGHTS'),
                                         ('import nowhere', 'install it, or put it beside {}/nets.py'), ('1/0', 'mend {}/nets.py')])
def test_a_function_that_fails_says_what_would_help(tmp_path, line, words):
    (tmp_path/'nets.py').write_text(f'import torch\nfrom pathlib import Path\ndef make(n_classes): \n    {line}\n')
    with pytest.raises(BadInput) as e: classifier(f'{tmp_path}/nets.py:make', 2, 32)
    assert words.format(tmp_path) in str(e.value) and '\n' not in str(e.value)

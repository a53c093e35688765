"A study of which one byte is changed, whichever it is: it is named, nothing is built on it, and the next run makes it again. And two runs of one study."
import json, os, re, shutil, signal, subprocess, sys, time

import pytest

from aeclf import stages
from aeclf.stages import LOCK, Ledger
from aeclf.store import BadInput
from aeclf.study import Study, accept
from aeclf.training import write_kept
from aeclf.workspace import has_controls
from conftest import aeclf, command, one_line, without_digests

tiny = ['--classifiers', 'L,own=nets.py:make', '--epochs', '1,1,1', '--size', '32', '--controls', '--pretrain', 'folder:without', '--set', 'panels=2', '--set', 'widths=[8,16]', '--set', 'convs=[1,1]']
net = 'from torch import nn\ndef make(n_classes): return nn.Sequential(nn.Conv2d(3, 4, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, n_classes))\n'


@pytest.fixture(scope='module')
def args(pictures, tmp_path_factory):
    "A working directory, and the command for a small study in it with all kinds of files."
    where = tmp_path_factory.mktemp('damage')
    for name in ('with', 'without'): shutil.copytree(pictures, where/name)
    (where/'nets.py').write_text(net)
    return where, ['run', '--data', 'folder:with', *tiny, '--out', where/'study']


@pytest.fixture(scope='module')
def finished(args):
    where, words = args
    result = aeclf(where, *words)
    assert result.returncode == 0, result.stderr
    return where/'study'


@pytest.fixture
def whole(finished):
    "The finished study; at the end it has the bytes of before."
    before = content(finished)
    yield finished
    for file,data in before.items():
        if not (finished/file).is_file() or (finished/file).read_bytes() != data: (finished/file).write_bytes(data)


def content(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}


def flip(path, where=0.5):
    "Change one bit of a file."
    data = bytearray(path.read_bytes())
    data[int(where*(len(data)-1))] ^= 1
    path.write_bytes(data)


def said_of(result, file):
    "The line that begins with a file's name."
    return next((line for line in result.stdout.splitlines() if line.startswith(file+' ')), '')


@pytest.mark.parametrize('where', [0, 0.5, 1])
def test_verify_finds_a_byte_in_every_file(whole, where):
    stage_of = {f: stage.name for stage in Study.open(whole, 'cpu').stages for f in stage.leaves}
    files = [f for f, data in content(whole).items() if data]
    assert {'study.toml', 'stages.json', 'report.html', 'pictures/data.csv', 'pictures/pretrain.csv'} <= set(files)-set(stage_of)
    for file in files:
        data, stat = (whole/file).read_bytes(), (whole/file).stat()
        flip(whole/file, where)
        os.utime(whole/file, ns=(stat.st_atime_ns, stat.st_mtime_ns))   # as a disk does that forgets
        result = aeclf(whole.parent, 'verify', whole)
        (whole/file).write_bytes(data)
        line = said_of(result, file)
        assert result.returncode == 1 and 'damaged' in line and stage_of.get(file, '') in line, (file, result)
        assert re.search(r'^1 of \d+ files differ$', result.stdout, re.M), (file, result.stdout)
    good = aeclf(whole.parent, 'verify', whole)
    assert good.returncode == 0 and 'all as they were left' in good.stdout


def test_status_names_file_and_stage(whole):
    stages = Study.open(whole, 'cpu').stages
    assert 'to do' not in aeclf(whole.parent, 'status', whole).stdout
    for stage in stages:
        file = max((f for f in stage.leaves if (whole/f).stat().st_size), key=lambda f: (whole/f).stat().st_size)
        data = (whole/file).read_bytes()
        flip(whole/file)
        result = aeclf(whole.parent, 'status', whole)
        assert result.returncode == 0 and f'to do ({file} is damaged)' in said_of(result, stage.name), (file, result)
        assert 'damaged: aeclf run makes it again, or takes it as it is with --accept' in said_of(result, file)
        refused = aeclf(whole.parent, 'report', whole)
        assert refused.returncode == 2 and f'not finished ({stage.name} is to do: {file} is damaged)' in refused.stderr.splitlines()[-1]
        (whole/file).write_bytes(data)


def test_nothing_damaged_is_opened(whole):
    study = Study.open(whole, 'cpu', say=lambda words: None)
    reads = {'classifiers/L.safetensors': lambda: study.classifier('L'), 'autoencoder/S.safetensors': lambda: study.autoencoder(), 'decoders/own.safetensors': lambda: study.decoders(),
             'controls/M.safetensors': lambda: study.autoencoder('M'), 'history/A_L.csv': lambda: study.history('A_L'), 'crosseval/ranks.npy': lambda: study.rrc(),
             'crosseval/names.json': lambda: study.crosseval, 'crosseval/predictions.npy': lambda: study.accuracy, 'evidence/orders.csv': lambda: study.table('evidence/orders')}
    for file, read in reads.items():
        read()
        data = (whole/file).read_bytes()
        flip(whole/file)
        with pytest.raises(BadInput, match=f'{file} is damaged: it is not what stage .* left; aeclf run .* makes it again, .* --accept {file} takes it as it is'): read()
        (whole/file).write_bytes(data)
        read()
    flip(whole/'decoders'/'L.safetensors')
    refused = aeclf(whole.parent, 'reconstruct', whole.parent/'with'/'coffee'/'02.png', '--study', whole, '--out', whole.parent/'out')
    assert refused.returncode == 2 and "decoders/L.safetensors is damaged: it is not what stage 'decoder L' left" in refused.stderr and not (whole.parent/'out').exists()
    flip(whole/'rrc.csv')
    one_line(aeclf(whole.parent, 'lattice', whole/'rrc.csv'), 'rrc.csv is damaged')
    assert 'To do: decoder L, ' in study._repr_html_()


@pytest.mark.parametrize('file, stage', [
    ('classifiers/own.safetensors', 'classifier own'), ('autoencoder/S.safetensors', 'autoencoder S'), ('decoders/L.safetensors', 'decoder L'), ('controls/N_L.safetensors', 'control N_L'),
    ('history/S.csv', 'autoencoder S'), ('crosseval/labels.npy', 'cross-evaluation'), ('crosseval/names.json', 'cross-evaluation'), ('provenance.json', 'cross-evaluation'),
    ('rrc.csv', 'RRC and lattices'), ('evidence/orders.csv', 'evidence'), ('quality.csv', 'quality'), ('figures/panels/panel_01.png', 'figures')])
def test_run_makes_it_again_and_nothing_else(whole, args, file, stage):
    before = content(whole)
    flip(whole/file, 0.1)
    result = aeclf(args[0], *args[1])
    assert result.returncode == 0, result.stderr
    assert f'{stage}: {file} is damaged, not as it was left; it is done again' in result.stdout
    done = [line for line in result.stdout.splitlines() if re.search(r'\(\d+ s\)$', line)]
    assert len(done) == 1 and done[0].startswith(stage)
    after = content(whole)
    assert {f for f in after if after[f] != before.get(f)} <= {'stages.json', 'report.html'} and set(after) == set(before)


def test_accepted_it_is_built_on(whole, args, tmp_path):
    copy = shutil.copytree(whole, tmp_path/'study')
    shutil.copytree(args[0]/'with', tmp_path/'with')
    shutil.copytree(args[0]/'without', tmp_path/'without')
    flip(copy/'classifiers'/'own.safetensors', 0.9)
    data = (copy/'classifiers'/'own.safetensors').read_bytes()
    one_line(aeclf(tmp_path, 'run', '--out', copy, '--accept', 'classifiers/none.safetensors'), 'no file', 'classifiers/none.safetensors')
    one_line(aeclf(tmp_path, 'run', '--out', copy, '--accept', 'pictures'), 'nobody has left pictures')
    flip(copy/'history'/'own.csv', 0.9)
    result = aeclf(tmp_path, 'run', '--out', copy, '--accept', copy/'classifiers'/'own.safetensors', '--accept', 'study/history/own.csv')
    assert result.returncode == 0, result.stderr
    assert 'classifiers/own.safetensors: taken as it is' in result.stdout and (copy/'classifiers'/'own.safetensors').read_bytes() == data
    done = [re.match(r'(.*?)  ', line)[1] for line in result.stdout.splitlines() if re.search(r'\(\d+ s\)$', line)]
    assert done[:3] == ['decoder own', 'cross-evaluation', 'RRC and lattices']   # the decoder of L needs L alone
    assert 'was taken as it is' in said_of(aeclf(tmp_path, 'status', copy), 'classifier own') and aeclf(tmp_path, 'verify', copy).returncode == 0


@pytest.mark.parametrize('edit', [lambda text: text.replace('seed = 0', 'seed = 1'), lambda text: text.replace('panels = 2', 'panels = 3'), lambda text: text+'\n', lambda text: text.replace('folder:with', 'folder:witj')])
def test_an_edited_study_toml_is_refused(whole, args, edit):
    toml = whole/'study.toml'
    toml.write_text(edit(toml.read_text()))
    for words in (['status', whole], ['report', whole], ['run', '--config', whole, '--out', whole], args[1]):
        one_line(aeclf(args[0], *words), 'study.toml is damaged, or was edited by another hand', 'put it back as it was', '--accept study.toml')
    with pytest.raises(BadInput, match='study.toml is damaged'): Study.open(whole, 'cpu')
    assert aeclf(args[0], 'verify', whole).returncode == 1


def test_an_accepted_study_toml(whole, args):
    toml = whole/'study.toml'
    toml.write_text('# mine\n'+toml.read_text())
    same = aeclf(args[0], 'run', '--out', whole, '--accept', 'study.toml')
    assert same.returncode == 0 and 'nothing was trained' in same.stdout, same.stderr
    toml.write_text(toml.read_text().replace('decoders = 1', 'decoders = 2'))
    kept = whole/'unfinished'/'decoder L'/'training.pt'
    kept.parent.mkdir(parents=True)
    kept.write_text('begun with other settings')
    accept(whole, ['study.toml'])
    assert not kept.exists()
    why = {name: why for name,_,why in Study.open(whole, 'cpu', say=lambda words: None).progress()}
    assert set(why.values()) == {'study.toml has changed'}


@pytest.mark.parametrize('edit, words', [
    (lambda text: text.replace('"seconds": ', '"seconds": 1'), ['damaged, or edited by another hand', '--accept stages.json']), (lambda text: json.dumps({k: v for k,v in json.loads(text).items() if k != 'itself'}), ['damaged, or edited by another hand', '--accept stages.json']),
    (lambda text: text[:len(text)//2], ['damaged; delete it']), (lambda text: '', ['damaged; delete it']), (lambda text: '['*100000, ['damaged; delete it'])])
def test_an_edited_or_torn_ledger_is_refused(whole, args, edit, words):
    ledger = whole/'stages.json'
    ledger.write_text(edit(ledger.read_text()))
    for command_words in (['status', whole], ['report', whole], args[1]): one_line(aeclf(args[0], *command_words), 'stages.json: ', *words)
    assert aeclf(args[0], 'verify', whole).returncode == 1
    accepted = aeclf(args[0], 'run', '--out', whole, '--accept', 'stages.json')
    assert accepted.returncode == (0 if 'edited' in words[0] else 2) and ('nothing was trained' in accepted.stdout) == ('edited' in words[0])


def test_an_empty_ledger_is_none_of_ours(whole, args):
    (whole/'stages.json').write_text('{}')
    assert aeclf(args[0], 'verify', whole).returncode == 1
    one_line(aeclf(args[0], 'status', whole), 'damaged, or edited by another hand')


def test_a_damaged_list_of_labels_keeps_no_study_from_going_on(whole, args):
    flip(whole/'crosseval'/'labels.npy', 0)
    (whole/'rrc.csv').unlink()
    result = aeclf(args[0], *args[1])
    assert result.returncode == 0 and 'crosseval/labels.npy is damaged' in result.stdout, result
    assert aeclf(args[0], 'verify', whole).returncode == 0


def test_lost_controls_are_missed(whole, args):
    shutil.move(whole/'controls', whole.parent/'controls')
    try:
        result = aeclf(args[0], 'status', whole)
        assert 'to do (controls/M.safetensors is lost)' in said_of(result, 'control M'), result
    finally: shutil.move(whole.parent/'controls', whole/'controls')


def test_an_empty_folder_makes_no_controls(args, tmp_path):
    (tmp_path/'study'/'controls').mkdir(parents=True)
    assert not has_controls(tmp_path/'study')


def test_a_table_somewhere_in_a_study_is_checked(whole, args):
    table = whole/'evidence'/'rrc.csv'
    assert table.is_file()
    flip(table)
    one_line(aeclf(args[0], 'lattice', table), 'evidence/rrc.csv is damaged: it is not what stage', 'evidence')


def test_a_report_that_was_edited_is_named(whole, args):
    page = whole/'report.html'
    page.write_text(page.read_text().replace('<h1>', '<h1>Not ', 1))
    for words in ('status', 'verify'): assert 'damaged or edited: aeclf report' in said_of(aeclf(args[0], words, whole), 'report.html')


def test_what_unfinished_stages_have_kept_is_verified(whole, args):
    folder = whole/'unfinished'/'decoder L'
    folder.mkdir(parents=True)
    try:
        write_kept(folder/'training.pt', 'it', dict(now=1))
        assert aeclf(args[0], 'verify', whole).returncode == 0
        flip(folder/'training.pt')
        result = aeclf(args[0], 'verify', whole)
        assert result.returncode == 1 and 'unfinished/decoder L/training.pt damaged: the stage begins anew' in result.stdout, result
    finally: shutil.rmtree(whole/'unfinished')


def test_notes_and_lists_are_known_too(whole, args):
    for file in ('pictures/data.csv', 'pictures/pretrain.csv'):
        data = (whole/file).read_bytes()
        flip(whole/file)
        for words in (['status', whole], args[1]):
            result = aeclf(args[0], *words)
            assert result.returncode == 2 and f'{file} is damaged' in result.stderr and len(result.stderr.splitlines()) == 1, result
        (whole/file).write_bytes(data)
    copy = next((whole/'code').rglob('nets.py'))
    flip(copy)
    assert said_of(aeclf(args[0], 'status', whole), copy.relative_to(whole).as_posix()).count('damaged')
    assert aeclf(args[0], *args[1]).returncode == 0 and copy.read_text() == net


def test_a_ledger_of_before_is_taken_as_it_is_once(whole, args, tmp_path):
    without_digests(whole)
    flip(whole/'figures'/'border.png')
    assert 'to do' not in aeclf(args[0], 'status', whole).stdout
    before = aeclf(args[0], 'verify', whole)
    assert before.returncode == 0 and 'no digests of what classifier L, ' in before.stdout
    first, second = aeclf(args[0], *args[1]), aeclf(args[0], *args[1])
    for result in (first, second): assert 'nothing was trained' in result.stdout, result
    assert first.stdout.count('taken as it is now, this study had no record of it') == 1 and 'taken as' not in second.stdout
    flip(whole/'history'/'L.csv')
    assert 'history/L.csv is damaged' in said_of(aeclf(args[0], 'status', whole), 'classifier L')


def begin(args, out, **how):
    "A run in a process of its own, that has begun to train."
    process = subprocess.Popen([*command, *map(str, args[1][:-1]), str(out), '--epochs', '1,3000,1'], cwd=args[0], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)
    while not ((out/'classifiers'/'own.safetensors').exists() and holds(process, out)): time.sleep(0.05); assert process.poll() is None, process.communicate()
    return process


def holds(process, out): return (out/LOCK).exists() and (out/LOCK).read_text().startswith(f'{process.pid} ')


def test_a_second_run_is_refused_and_a_killed_one_leaves_no_lock(args, tmp_path):
    out = tmp_path/'twice'
    process = begin(args, out)
    try:
        words = [*args[1][:-1], out, '--epochs', '1,3000,1']
        one_line(aeclf(args[0], *words), f'process {process.pid} on ', 'runs this study', '--out')
        settings = (out/'study.toml').read_bytes()
        assert f'process {process.pid} on ' in aeclf(args[0], 'run', '--out', out, '--add', 'V').stderr and (out/'study.toml').read_bytes() == settings
        with pytest.raises(BadInput, match=f'process {process.pid} on'): Study.open(out, 'cpu').run(done=lambda *a: None)
        assert aeclf(args[0], 'status', out).returncode == 0 and aeclf(args[0], 'verify', out).returncode == 0   # who reads is not refused
    finally: process.send_signal(signal.SIGKILL)
    process.communicate()
    assert (out/LOCK).is_file()
    deaf = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)   # as a script leaves what it starts with &
    again = begin(args, out, preexec_fn=deaf)   # another one, and no complaint
    again.send_signal(signal.SIGINT)   # as soon as it has the lock: heard all the same
    said = again.communicate(timeout=60)
    assert again.returncode == 130 and not (out/LOCK).exists(), said


def test_a_signal_while_the_lock_is_signed_leaves_none(tmp_path, monkeypatch):
    sign = stages._sign
    def signed(fd):
        sign(fd)
        raise KeyboardInterrupt
    monkeypatch.setattr(stages, '_sign', signed)
    with pytest.raises(KeyboardInterrupt):
        with stages.alone(tmp_path): pass
    assert not (tmp_path/LOCK).exists()
    monkeypatch.undo()
    with stages.alone(tmp_path): assert (tmp_path/LOCK).read_text()


def test_a_lock_that_another_user_has_left_is_none(tmp_path, monkeypatch):
    opened = os.open
    def refuse(path, flags, *mode):
        if str(path).endswith(LOCK) and os.stat(path).st_size and flags & os.O_RDWR: raise PermissionError(13, 'Permission denied', str(path))
        return opened(path, flags, *mode)
    (tmp_path/LOCK).write_text('99999 elsewhere')
    monkeypatch.setattr(stages.os, 'open', lambda path, flags, *mode: refuse(path, flags, *mode) if os.path.exists(path) else opened(path, flags, *mode))
    with stages.alone(tmp_path): assert (tmp_path/LOCK).read_text().startswith(f'{os.getpid()} ')
    assert not (tmp_path/LOCK).exists()

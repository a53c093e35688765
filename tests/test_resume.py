"A study that is killed at any moment goes on where it was, and ends with the same bits; signals are requests; the file goes elsewhere."
import json,multiprocessing,os,random,re,shutil,signal,subprocess,sys,threading,time

import pytest
from conftest import aeclf, command, one_line

KILLS = int(os.environ.get('AECLF_KILLS', 15))   # AECLF_KILLS=100 before a release: every kind of stage dies at least five times
TINY = ['--classifiers', 'L,R', '--epochs', '3,3,2', '--size', '32', '--set', 'widths=[8,16]', '--set', 'convs=[1,1]', '--set', 'panels=4']
EPOCHS = ('classifier', 'autoencoder', 'decoder')   # what they begin with has epochs
KINDS = (*EPOCHS, 'cross-evaluation')

servers = multiprocessing.get_context('forkserver' if 'forkserver' in multiprocessing.get_all_start_methods() else 'spawn')
if hasattr(servers, 'set_forkserver_preload'): servers.set_forkserver_preload(['aeclf.report', 'aeclf.all'])


def run_and_die(args, log, stage, moment):
    "The command in a process of its own, which kills itself so many seconds after the stage has begun; None: when its second epoch ends."
    from aeclf import cli
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2): os.dup2(out, stream)
    sys.stdout,sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
    plain = cli.LogLines
    class Deadly(plain):
        def __init__(self, name, **more):
            super().__init__(name, **more)
            if moment is None: return
            timer = threading.Timer(moment, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True   # the end of the study does not wait for it
            if name == stage: timer.start()
        def after_epoch(self, epoch, *more):
            if moment is None and self.name == stage and epoch == 2: os.kill(os.getpid(), signal.SIGKILL)
            super().after_epoch(epoch, *more)
    cli.LogLines = Deadly
    cli.main(args)


def start(args, log, stage='', moment=0.):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)   # else the command is one that does not hear it, as under nohup
    process = servers.Process(target=run_and_die, args=(list(map(str, args)), str(log), stage, moment))
    process.start()
    return process


def ledger(study):
    file = study/'stages.json'
    return {k: v for k,v in json.loads(file.read_text()).items() if 'seconds' in v and 'again' not in v} if file.is_file() else {}


def results(study):
    "Bytes of all files that say nothing of time."
    apart = ('stages.json', 'report.html', 'study.toml')
    return {str(p.relative_to(study)): p.read_bytes() for p in study.rglob('*') if p.is_file() and p.name not in apart and not p.name.startswith('.')}


@pytest.fixture(scope='module')
def undisturbed(pictures):
    "A study that nobody disturbs, and what runs it."
    out,run = pictures.parent/'undisturbed', ['run', '--data', f'folder:{pictures}', *TINY, '--out']
    process = start([*run, out], pictures.parent/'undisturbed.log')
    process.join()
    assert process.exitcode == 0, (pictures.parent/'undisturbed.log').read_text()
    assert not (out/'unfinished').exists()
    return out, run


def same(ours, theirs):
    "Are all results the same to the last byte, and is nothing left over?"
    assert not (ours/'unfinished').exists() and not list(ours.rglob('*.part*'))
    ours,theirs = results(ours), results(theirs)
    assert [f for f in {**ours, **theirs} if ours.get(f) != theirs.get(f)] == []


def finish_with_kills(run, out, log, took, draw, most, kinds):
    """A study that is killed up to so many times, twice in every stage of these kinds, and then left alone; the stages that died.
    The first death is at a random moment; the second, where a stage has epochs, when the second of them ends."""
    meant,killed,process = dict.fromkeys(took, 0), [], None
    while process is None or process.exitcode:
        left = [s for s in took if s not in ledger(out)] if len(killed) < most else []
        stage = next((s for s in left if meant[s] < 2 and s.startswith(kinds)), 'none')
        if stage in meant: meant[stage] += 1
        by_epoch = meant.get(stage) == 2 and stage.startswith(EPOCHS)
        process = start([*run, out], log, stage, None if by_epoch else 0.8*draw.random()*took.get(stage, {}).get('seconds', 0))
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
        if process.exitcode: killed += [s for s in took if s not in ledger(out)][:1]   # behind the last stage does not count
    return killed


def test_killed_at_random_moments(undisturbed, tmp_path):
    whole,run = undisturbed
    draw,killed,said = random.Random(0), [], []
    missed = lambda: [kind for kind in KINDS if not any(s.startswith(kind) for s in killed)]
    for k in range(9):   # a stage may be over before its process is killed: once more
        if len(killed) >= KILLS and not missed(): break
        out,log = tmp_path/f'{k}', tmp_path/f'{k}.log'
        kinds = '' if len(killed) < KILLS else tuple(missed())
        died = finish_with_kills(run, out, log, ledger(whole), draw, max(KILLS-len(killed), len(KINDS)), kinds)
        same(out, whole)
        for of in set(told := re.findall(r'^(\S.*?)  +epoch (\d+) of', log.read_text(), re.M)):
            assert told.count(of) <= 1+died.count(of[0])   # an epoch is done again only where it was lost
        said += re.findall(r'goes on at (epoch \d of \d|batch|file)', log.read_text())
        killed += died
    assert len(killed) >= KILLS and not missed(), killed
    assert any(words.startswith('epoch 2') for words in said), said   # however fast the machine is
    print({s: killed.count(s) for s in ledger(whole)})


@pytest.mark.parametrize('name, code', [('SIGINT', 130), ('SIGTERM', 143), ('SIGHUP', 129)])
def test_signals(undisturbed, tmp_path, name, code):
    whole,run = undisturbed
    out,log = tmp_path/'stopped', tmp_path/'log'
    shutil.copytree(whole, out)
    (out/'decoders'/'R.safetensors').unlink()
    process = start([*run, out], log)
    kept = out/'unfinished'/'decoder R'/'training.pt'
    while not kept.exists(): time.sleep(0.01); assert process.is_alive(), log.read_text()
    os.kill(process.pid, getattr(signal, name))
    process.join()
    assert process.exitcode == code and kept.exists()
    assert 'stopped in decoder R; the same command goes on where it was' in log.read_text() and 'Traceback' not in log.read_text()
    again = start([*run, out], log)
    again.join()
    assert again.exitcode == 0 and re.search(r'decoder R +goes on (at epoch 2 of 2|after the last epoch)', log.read_text())
    same(out, whole)


def test_decoders_in_one_pass_go_on(pictures, tmp_path):
    "Stopped in the middle of an epoch, all of them go on; the others' files stay when a classifier is added."
    run = ['run', '--data', f'folder:{pictures}', *TINY, '--together', '--set', 'bs=4', '--out']
    whole,out,log = tmp_path/'whole', tmp_path/'stopped', tmp_path/'log'
    assert (done := aeclf(tmp_path, *run, whole)).returncode == 0, done.stderr
    shutil.copytree(whole, out)
    (out/'decoders'/'R.safetensors').unlink()
    process = start([*run, out], log)
    kept = out/'unfinished'/'decoders'/'training.pt'
    while not kept.exists(): time.sleep(0.01); assert process.is_alive(), log.read_text()
    os.kill(process.pid, signal.SIGINT)
    process.join()
    assert process.exitcode == 130 and 'stopped in decoders' in log.read_text()
    again = start([*run, out], log)
    again.join()
    assert again.exitcode == 0 and re.search(r'decoders +goes on (at epoch 2 of 2|after the last epoch)', log.read_text())
    same(out, whole)
    before = {p.name: p.read_bytes() for p in (out/'decoders').iterdir()}
    assert (more := aeclf(tmp_path, 'run', '--out', out, '--add', 'V=small/vgg')).returncode == 0, more.stderr
    assert list(ledger(out)).count('decoder V') == 1
    assert {p.name: p.read_bytes() for p in (out/'decoders').iterdir() if p.name in before} == before


halting = '''
import time
from pathlib import Path
from torch import nn

class Halts(nn.Sequential):
    "Takes a minute over one step of its second epoch."
    def forward(self, x):
        if Path('out/unfinished/classifier mine/training.pt').exists() and not Path('halted').exists():
            Path('halted').touch()
            time.sleep(60)
        return super().forward(x)

def net(n): return Halts(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, n))
'''


def test_a_second_ctrl_c_waits_for_no_step(pictures, tmp_path):
    (tmp_path/'nets.py').write_text(halting)
    run = ['run', '--data', f'folder:{pictures}', *TINY, '--classifiers', 'mine=nets.py:net', '--out', 'out']
    process = subprocess.Popen([*command, *run], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not (tmp_path/'halted').exists(): time.sleep(0.01); assert process.poll() is None, process.communicate()
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired): process.wait(1)   # the step is waited for
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=20)[1]
    assert process.returncode == 130 and 'stopped' in said and 'Traceback' not in said, said
    assert not list(tmp_path.rglob('*.part*'))
    result = aeclf(tmp_path, *run)
    assert result.returncode == 0 and re.search('classifier mine +goes on at epoch 2 of 3', result.stdout), result.stderr


def test_the_file_goes_elsewhere(undisturbed, tmp_path):
    whole,run = undisturbed
    process = start(['run', '--config', whole/'study.toml', '--out', tmp_path/'elsewhere'], tmp_path/'log')
    process.join()
    assert process.exitcode == 0, (tmp_path/'log').read_text()
    same(tmp_path/'elsewhere', whole)


def test_threads_are_kept(undisturbed, tmp_path):
    import tomllib,torch
    whole,run = undisturbed
    threads = tomllib.loads((whole/'study.toml').read_text())['threads']
    assert threads == torch.get_num_threads() == json.loads((whole/'provenance.json').read_text())['threads']
    one_line(aeclf(tmp_path, *run, whole, '--set', f'threads={threads+1}'), f'threads is {threads} there and {threads+1} here')
    one_line(aeclf(tmp_path, *run, 'x', '--set', 'threads=-1'), 'threads is -1', '0 to 1024')
    out = tmp_path/'more'
    shutil.copytree(whole, out)
    (out/'rrc.csv').unlink()
    torch.set_num_threads(threads+1)
    try: result = aeclf(tmp_path, *run, out)
    finally: torch.set_num_threads(threads)
    assert result.returncode == 0 and f'threads: {threads}, as when this study began, here there would be {threads+1}' in result.stdout


class StopAfter:
    "Breaks a training off after so many batches."
    def __init__(self, n): self.n,self.told = n,0
    def __call__(self, fraction):
        self.told += 1
        if self.told == self.n: raise InterruptedError('the power has failed')


@pytest.fixture(scope='module')
def shards(pictures):
    from aeclf.unlabelled import write_shards
    return write_shards(pictures, pictures.parent/'shards', per=8)


@pytest.mark.parametrize('workers', [0, 1, 2])
@pytest.mark.parametrize('kind', ['folder', 'shards'])
def test_workers_and_streams(pictures, shards, tmp_path, kind, workers):
    "Broken off in the middle of epochs and between them, with every number of processes that read."
    from fastai.data.core import DataLoaders
    from aeclf.segnet import SegNet
    from aeclf.store import digest,seeded
    from aeclf.training import Kept,ae_learner
    from aeclf.unlabelled import unlabelled
    source = f'folder:{pictures}' if kind == 'folder' else f'shards:{shards}'

    def trained(n, **kept):
        tell = StopAfter(n)
        with seeded(0):
            dls = DataLoaders(*(unlabelled(source, 32, 5, num_workers=k) for k in (workers, 0)), device='cpu')
            learn = ae_learner(dls, SegNet((4,), (1,))).quietly(tell)
            try: history = learn.fit_poly(3, 1e-2, kept=Kept(tmp_path/'training.pt', tell=tell, **kept) if kept else None)
            except InterruptedError: return None
        return digest(learn.model),history.to_csv()

    whole = trained(1000)
    for every,stops in ((0, (2, 6)), (1e9, (8,))):
        for n in stops: assert trained(n, every=every) is None
        assert trained(1000, every=every) == whole
        (tmp_path/'training.pt').unlink()

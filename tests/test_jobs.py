"Stages side by side in several processes: the same bits as one after the other, whoever dies, fails or is stopped."
import json,os,re,signal,subprocess,time
from pathlib import Path

import pytest
from conftest import aeclf, command, one_line
from fastai.callback.core import Callback

from aeclf.config import configure
from aeclf.stages import Ledger
from aeclf.store import BadInput
from aeclf.study import Study
from aeclf.training import WithoutState

TINY = ['--classifiers', 'L,V,R', '--epochs', '2,2,2', '--size', '32', '--set', 'widths=[8,16]', '--set', 'convs=[1,1]', '--set', 'panels=2', '--set', 'threads=1']


class OnceInA_R(WithoutState, Callback):
    "Does something in the second epoch of the decoder of R, for the first time only."
    again = False
    def after_batch(self):
        mark = self.learn.path.parent/'mark'
        if self.learn.path.name != 'A_R' or self.epoch < 1 or mark.exists() and not self.again: return
        mark.touch()
        self.act()


class Dies(OnceInA_R):
    def act(self): os.kill(os.getpid(), signal.SIGKILL)


class DiesAlways(Dies):
    again = True


class Divides(OnceInA_R):
    def act(self): return 1/0


def results(study):
    "Bytes of all files that say nothing of time, and what the ledger says besides."
    apart = ('stages.json', 'report.html')
    found = {str(p.relative_to(study)): p.read_bytes() for p in study.rglob('*') if p.is_file() and p.name not in apart and 'callbacks' not in p.parts}
    return found | {name: {k: v for k,v in entry.items() if k != 'seconds'} for name,entry in Ledger(study).entries.items()}


def same(ours, theirs):
    "Are all results the same to the last bit, and is nothing left over?"
    ours,theirs = results(ours), results(theirs)
    assert [f for f in {**ours, **theirs} if ours.get(f) != theirs.get(f)] == []


@pytest.fixture(scope='module')
def one(pictures):
    "A study that was done by one process, and what runs it."
    out,run = pictures.parent/'one', ['run', '--data', f'folder:{pictures}', *TINY, '--out']
    result = aeclf(pictures.parent, *run, out)
    assert result.returncode == 0, result.stderr
    return out, run


def begun(one, out, **handed):
    "The same study in another folder, to be run in Python."
    return Study(configure(config=one[0]), out, 'cpu', **handed)


@pytest.mark.parametrize('jobs', [2, 3])
def test_any_number_of_jobs_brings_the_same_bits(one, tmp_path, jobs):
    result = aeclf(tmp_path, *one[1], tmp_path/'out', '--jobs', jobs)
    assert result.returncode == 0 and f'{jobs} jobs at a time, threads of each: 1' in result.stdout, result.stderr
    assert re.search(r'classifier L       epoch 1 of 2: .*, top-1 0', result.stdout)
    same(tmp_path/'out', one[0])
    again = aeclf(tmp_path, *one[1], tmp_path/'out', '--jobs', jobs)
    assert again.stdout.count('already there') == len(Ledger(tmp_path/'out').entries) and 'nothing was trained' in again.stdout


def test_who_is_killed_is_named_and_his_stage_done_again(one, tmp_path):
    told,study = [],begun(one, tmp_path/'out', cbs=[Dies])
    study.run(done=lambda *of: None, say=told.append, jobs=2)
    assert 'decoder R: its process was ended by SIGKILL, as the system does where memory runs out; it is done again' in told
    same(tmp_path/'out', one[0])
    (tmp_path/'out'/'decoders'/'R.safetensors').unlink()
    with pytest.raises(BadInput, match='decoder R: its process was ended by SIGKILL.*, as the one before did; make memory free'):
        begun(one, tmp_path/'out', cbs=[DiesAlways]).run(say=told.append, jobs=2)
    assert not list(tmp_path.rglob('*.part*'))


def test_an_error_is_that_of_one_process(one, tmp_path):
    "A user's is one line, with the same words; another one comes with the traceback of where it was."
    wild = [*one[1], tmp_path/'wild', '--set', 'lr.autoencoder=1e30', '--jobs']
    first = aeclf(tmp_path, *wild, 2)
    assert first.returncode == 2 and 'autoencoder S: the loss is' in first.stderr and len(first.stderr.splitlines()) == 1
    assert json.loads((tmp_path/'wild'/'stopped.json').read_text()).keys() == {'autoencoder'}
    assert aeclf(tmp_path, *wild, 1).stderr == first.stderr and not list(tmp_path.rglob('*.part*'))
    with pytest.raises(ZeroDivisionError) as error: begun(one, tmp_path/'divides', cbs=[Divides]).run(jobs=2)
    assert 'return 1/0' in error.value.__notes__[0]
    assert begun(one, tmp_path/'divides', cbs=[Divides]).run(jobs=2)[0] == 'decoder R'   # the other decoders were kept or finished
    same(tmp_path/'divides', one[0])


def test_what_cannot_be_handed_over(one, tmp_path):
    study = begun(one, tmp_path/'out', cbs=[type('OfHere', (Callback,), {})])
    with pytest.raises(BadInput, match='jobs: something here cannot be handed to other processes'): study.run(jobs=2)
    one_line(aeclf(tmp_path, *one[1], tmp_path/'none', '--jobs', 0), '--jobs')
    assert not (tmp_path/'none').exists()


def begin(one, out):
    "The command with two jobs, in a group of processes of its own; returns when it trains a decoder."
    process = subprocess.Popen([*command, *map(str, [*one[1], out, '--jobs', 2])], start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any((out/'unfinished'/f'decoder {n}'/'training.pt').exists() for n in 'LVR'): time.sleep(0.01); assert process.poll() is None, process.communicate()
    return process


def is_anybody_left(group):
    try: os.killpg(group, 0)
    except ProcessLookupError: return False
    return True


@pytest.mark.parametrize('how, code', [('Ctrl-C', 130), ('SIGTERM', 143), ('twice Ctrl-C', 130), ('SIGKILL', -9)])
def test_stopped(one, tmp_path, how, code):
    out = tmp_path/'out'
    process = begin(one, out)
    if 'Ctrl-C' in how: os.killpg(process.pid, signal.SIGINT)   # as a terminal does
    else: process.send_signal(getattr(signal, how))
    if how == 'twice Ctrl-C': process.send_signal(signal.SIGINT)
    _,said = process.communicate(timeout=60)
    assert process.returncode == code, said
    if how in ('Ctrl-C', 'SIGTERM'): assert 'stopped in decoder' in said and len(said.splitlines()) == 1
    end = time.monotonic()+20
    while is_anybody_left(process.pid): time.sleep(0.05); assert time.monotonic() < end
    if code > 0: assert not list(out.rglob('*.part*'))
    result = aeclf(tmp_path, *one[1], out)
    assert result.returncode == 0 and 'goes on' in result.stdout, result.stderr
    same(out, one[0])

"Trainings that go wrong: a loss that is no number, memory that runs out, classifiers at chance, decoders below A_S."
import html, json, re, subprocess, sys
from dataclasses import replace

import pandas as pd, pytest, torch
from fastai.callback.core import Callback
from fastai.callback.tracker import TerminateOnNaNCallback

from aeclf import results, workspace
from aeclf.config import Config, read_config
from aeclf.results import chance_table
from aeclf.store import BadInput, is_out_of_memory, may_be_out_of_memory
from aeclf.study import Study
from conftest import aeclf

small = Config(classifiers={'L': 'small/lenet5'}, size=32, quick=True, widths=(4, 8), convs=(1, 1), panels=1, watch=8,
               epochs=dict(classifiers=2, autoencoder=2, decoders=2))
quietly = dict(done=lambda *args: None, say=lambda words: None)


class Breaks(Callback):
    "The loss of a training is no number in its second epoch; keeps the rates of every epoch of it."
    loss_then,curve,rates = 1.,'',{}   # of the class: what an object holds is kept with the training
    def after_loss(self):
        now = self.learn.path.name,self.epoch,self.iter
        if self.training and now == (Breaks.curve, 1, 0): self.learn.loss = self.loss*Breaks.loss_then
    def after_step(self):
        if self.learn.path.name == Breaks.curve: Breaks.rates.setdefault(self.epoch, []).append(self.opt.hypers[-1]['lr'])


def stops(now):
    if now: raise KeyboardInterrupt


@pytest.mark.parametrize('loss, curve, stage, kind', [
    (float('nan'), 'L', 'classifier L', 'classifiers'), (float('inf'), 'S', 'autoencoder S', 'autoencoder'), (float('nan'), 'A_L', 'decoder L', 'decoders')])
def test_a_loss_that_is_no_number_stops_the_stage(tmp_path, monkeypatch, loss, curve, stage, kind):
    where = tmp_path/'study'
    monkeypatch.setattr(Breaks, 'curve', curve)
    monkeypatch.setattr(Breaks, 'loss_then', loss)
    cbs = [Breaks, TerminateOnNaNCallback]
    study = Study(small, where, 'cpu', cbs=cbs)   # fastai's own ends a training as if it were good
    with pytest.raises(BadInput) as error: study.run(**quietly)
    said = str(error.value)
    lower = small.lr[kind]/2
    assert said.startswith(f'{stage}: the loss is {loss} in epoch 2 of 2, batch 1 of '), said
    assert f'at a rate of ' in said and f'--set lr.{kind}={lower:g} goes on from the end of epoch 1' in said and '\n' not in said
    assert stage not in study.ledger.entries and not (where/'history'/f'{curve}.csv').exists()
    with pytest.raises(BadInput, match='another configuration'): Study(replace(small, lr=dict(small.lr, **{kind: 1.})), where, 'cpu')
    with pytest.raises(BadInput, match='another configuration'): Study(replace(small, lr=dict(small.lr, **{kind: lower}), seed=1), where, 'cpu')
    monkeypatch.setattr(Breaks, 'loss_then', 1.)
    Breaks.rates.clear()
    slower = Study(replace(small, lr=dict(small.lr, **{kind: lower})), where, 'cpu', cbs=cbs)
    with pytest.raises(KeyboardInterrupt): slower.run(done=lambda name, *rest: stops(name == stage), say=quietly['say'])
    assert set(Breaks.rates) == {1} and max(Breaks.rates[1]) < lower   # the first epoch is not trained again
    assert read_config(where/'study.toml').lr[kind] == lower and not (where/'stopped.json').exists()
    assert [note for note in Study.open(where, 'cpu').notes if f'rate of {kind}: {small.lr[kind]:g} until the loss is {loss}' in note]


def test_the_command_says_it_in_one_line(tmp_path, pictures):
    result = aeclf(tmp_path, 'run', '--data', f'folder:{pictures}', '--size', '32', '--classifiers', 'L', '--epochs', '1,1,1', '--set', 'lr.autoencoder=1e30', '--out', 'x')
    lines = result.stderr.splitlines()
    assert result.returncode == 2 and len(lines) == 1, lines
    assert lines[0].startswith('aeclf: autoencoder S: the loss is ') and 'begins this training anew' in lines[0]
    assert json.loads((tmp_path/'x'/'stages.json').read_text()).keys()-{'itself'} == {'classifier L'}


@pytest.mark.parametrize('error', [
    MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB'), OSError(12, 'Cannot allocate memory'),
    RuntimeError('DataLoader worker (pid 7) is killed by signal: Killed. '), RuntimeError('CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate')])
@pytest.mark.parametrize('bs, words', [(16, '--set bs=8 and another --out'), (1, 'not even a step with bs = 1 can be done now: take smaller batches or images')])
def test_memory_that_runs_out_names_stage_and_batch(tmp_path, error, bs, words):
    class Runs(Callback):
        def before_train(self): raise error
    study = Study(replace(small, bs=bs), tmp_path/'study', 'cpu', cbs=[Runs])
    study.check = lambda: None   # it has been tried elsewhere
    with pytest.raises(BadInput) as said: study.run(**quietly)
    assert str(said.value).startswith(f'classifier L: out of memory with bs = {bs}; ') and words in str(said.value)
    assert sorted(p.name for p in study.path.rglob('*') if p.suffix in ('.safetensors', '.part')) == []


@pytest.mark.parametrize('error', [RuntimeError('shapes do not fit'), ValueError('out of memory'), OSError(28, 'No space left on device')])
def test_other_errors_are_none_of_memory(error): assert not is_out_of_memory(error) and not may_be_out_of_memory(error)


@pytest.mark.parametrize('bs, words', [(16, 'out of memory with bs = 16; a step with bs = 8 fits'), (1, 'perhaps out of memory (could not create a primitive); make some free')])
def test_an_error_that_is_perhaps_of_memory(tmp_path, bs, words):
    "oneDNN says no more; what fits decides."
    class Runs(Callback):
        def before_train(self): raise RuntimeError('could not create a primitive')
    study = Study(replace(small, bs=bs), tmp_path/'study', 'cpu', cbs=[Runs])
    study.check = lambda: None   # it has been tried elsewhere
    with pytest.raises(BadInput) as said: study.run(**quietly)
    assert str(said.value).startswith(f'classifier L: {words}')


script = '''
import os, re, resource, traceback
from aeclf.config import Config
from aeclf.store import BadInput
from aeclf.study import Study
held = int([line for line in open('/proc/self/status') if line.startswith('VmSize')][0].split()[1])*1024
resource.setrlimit(resource.RLIMIT_AS, (held+400*2**20, -1))

def trained(name, *rest):
    if name=='autoencoder S': raise KeyboardInterrupt   # more is not asked
def words_of(bs):
    config = Config(classifiers={'L': 'small/lenet5'}, size=32, widths=(32, 32), convs=(1, 1), bs=bs, limit=[260, 26], epochs=dict(classifiers=0, autoencoder=1, decoders=0))
    try: Study(config, f'bs{bs}', 'cpu').run(done=trained, say=lambda words: None)
    except BadInput as e: return str(e)
    except KeyboardInterrupt: return 'trained'
    except Exception: return traceback.format_exc()
def apart(bs):
    "In a process of its own, which begins with as much memory."
    if (child := os.fork())==0:
        open('said', 'w').write(words_of(bs))
        os._exit(0)
    os.waitpid(child, 0)
    print(said := open('said').read())
    return said
said = re.search('a step with bs = ([0-9]+) fits', apart(256))
if said: apart(int(said[1]))
'''


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs /proc')
def test_a_limit_of_memory(tmp_path):
    "The batch that is said to fit does fit. Now and then oneDNN takes no more steps where one has failed: that is said, and a new process tries."
    fits, nothing = r'autoencoder S: out of memory with bs = 256; a step with bs = (\d+) fits: begin another study with it \(--set bs=\1 ', 'autoencoder S: (perhaps )?out of memory'
    for folder in 'abc':
        (tmp_path/folder).mkdir()
        result = subprocess.run([sys.executable, '-W', 'ignore', '-c', script], cwd=tmp_path/folder, capture_output=True, text=True)
        said, *smaller = result.stdout.splitlines() or ['']
        assert re.match(nothing, said) and not list(tmp_path.rglob('*.part*')), result
        if re.match(fits, said): break
    assert re.match(fits, said) and smaller == ['trained'], result


def test_a_cross_evaluation_says_what_fits_too(tmp_path, monkeypatch):
    tried, reads = [], results.cross_evaluate
    def full(encoder, decoders, classifiers, dl, *args, **kw):
        if not isinstance(dl, list): raise MemoryError   # of the study
        tried.append(len(dl[0][0]))
        if tried[-1] > 20: raise MemoryError
        return reads(encoder, decoders, classifiers, dl, *args, **kw)
    monkeypatch.setattr(results, 'cross_evaluate', full)
    study = Study(replace(small, epochs=dict.fromkeys(small.epochs, 0)), tmp_path/'study', 'cpu')
    with pytest.raises(BadInput, match='cross-evaluation: out of memory with bs = 16; a step with bs = 4 fits'): study.run(**quietly)
    assert tried == [32, 16]   # four times as many are read as are trained on
    monkeypatch.setattr(results, 'cross_evaluate', reads)
    assert study.run(**quietly)[0] == 'cross-evaluation'


@pytest.mark.parametrize('stage, before', [('quality', 'evidence'), ('figures', 'quality')])
def test_stages_that_decode_say_what_fits_too(tmp_path, monkeypatch, stage, before):
    decodes, at_work = workspace.decode_images, []
    def full(encoder, decoders, images):
        if at_work and len(images) > 8: raise MemoryError
        return decodes(encoder, decoders, images)
    def done(name, *rest): at_work.extend([name] if name == before else [])
    monkeypatch.setattr(workspace, 'decode_images', full)
    study = Study(replace(small, panels=20, epochs=dict.fromkeys(small.epochs, 0)), tmp_path/'study', 'cpu')
    with pytest.raises(BadInput, match=f'{stage}: out of memory with bs = 16; a step with bs = 2 fits'): study.run(done=done, say=lambda words: None)
    at_work.clear()
    assert study.run(**quietly)[0] == stage


few = ['run', '--classifiers', 'L', '--size', '32', '--quick', '--set', 'widths=[8,16]', '--set', 'convs=[1,1]', '--set', 'panels=1', '--epochs', '1,1,1', '--out', 'study']


def flagged(result, study, words):
    "It is the last line, and its words are in the page."
    assert result.returncode == 0, result.stderr
    last = result.stdout.splitlines()[-1]
    assert last.startswith('Look out: ') and words in last and last.endswith('Train these longer or at another rate.'), last
    page = html.unescape((study/'report.html').read_text(encoding='utf-8'))
    assert words in re.sub('A<sub>(.*?)</sub>', r'A_\1', page)


def test_a_classifier_at_chance_is_flagged(tmp_path):
    "One that is not trained: in the last line of the command, in the page and in the table."
    result = aeclf(tmp_path, *few, '--set', 'lr.classifiers=1e-12', '--set', 'lr.autoencoder=1e-12')
    flagged(result, tmp_path/'study', 'L is at chance on the originals (')
    table = pd.read_csv(tmp_path/'study'/'evidence'/'chance.csv')
    assert table.at_chance.tolist() == [True] and chance_table(Study.open(tmp_path/'study', 'cpu')).at_chance['L']
    assert ', at chance' in (tmp_path/'study'/'report.html').read_text(encoding='utf-8')


def test_a_decoder_below_A_S_is_flagged(tmp_path):
    "One that is trained at a rate that ruins it."
    result = aeclf(tmp_path, *few, '--set', 'lr.decoders=0.5', '--epochs', '6,4,1')
    flagged(result, tmp_path/'study', 'A_L ends below A_S (top-1 of L ')
    table = pd.read_csv(tmp_path/'study'/'evidence'/'chance.csv')
    assert table.below_S.tolist() == [True] and table.at_chance.tolist() == [False]
    assert ', not above A_S' in (tmp_path/'study'/'report.html').read_text(encoding='utf-8')

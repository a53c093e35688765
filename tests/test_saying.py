"What a command can say: every setting, in one of several places; and the commands that pages and results name."
import contextlib, json, re, shlex, shutil, subprocess, sys, tomllib
from pathlib import Path

import pandas as pd, pytest, typer

from aeclf.classifiers import classifier
from aeclf.cli import app
from aeclf.config import Config, command_of, commented, handed_over, read_config, write_config
from aeclf.data import images_digest, load
from aeclf.store import save_weights
from aeclf.study import Study, configure
from conftest import aeclf, command as aeclf_command, one_line

project = Path(__file__).parents[1]


def printed(cwd, *args):
    "What `aeclf run --print-config` prints, as settings."
    before = sorted(cwd.rglob('*'))
    result = aeclf(cwd, 'run', *args, '--print-config')
    assert result.returncode == 0, result.stderr
    assert result.stderr == '' and sorted(cwd.rglob('*')) == before
    return tomllib.loads(result.stdout)


wrong = [   # of --set, and words of the line that answers it
    ('lr', '--set lr: no value', 'KEY=VALUE'), ('', '--set : no value'), ('=3', "unknown setting ''"),
    ('sise=64', "unknown setting 'sise'", "did you mean 'size'?"), ('files=[]', "unknown setting 'files'"),
    ('decoders=0.001', "unknown setting 'decoders'", "did you mean 'lr.decoders'?"),
    ('lr.decoder=0.001', "lr: unknown key 'decoder'", "did you mean 'decoders'?"), ('epochs.=1', "epochs: unknown key ''"),
    ('size.edge=3', "unknown setting 'size.edge'", "did you mean 'size'?"), ('size=big', 'size is "big"', 'from 1 up'), ('size=0', 'size is 0'),
    ('size=64.0', 'size is 64', 'a whole number'), ('seed=', 'seed is ""', 'from 0 up'), ('seed=-1', 'seed is -1'), ('bs=true', 'bs is true'),
    ('quick=1', 'quick is 1', 'true or false'), ('quick=True', 'quick is "True"', 'true or false'),
    ('lr.decoders=-1', 'lr.decoders is -1', 'a number above 0'), ('lr.decoders=-.1', 'lr.decoders is -0.1', 'a number above 0'), ('lr.decoders=.', 'lr.decoders is "."'), ('lr.decoders=inf', 'lr.decoders is Infinity'), ('lr=0.001', 'lr is 0.001', 'for each of'),
    ('lr={decoders=0.001}', 'lr has no classifiers'), ('epochs.decoders=1.5', 'epochs.decoders is 1.5', 'a whole number'),
    ('epochs=8,12,4', 'epochs is "8,12,4"'), ('widths=16', 'widths is 16', 'such as [16, 32, 64]'), ('widths=[8,16]', 'the same length'),
    ('widths=[8,16,"x"]', 'widths is [8, 16, "x"]'), ('widths=[8,16', 'widths is "[8,16"'), ('limit=[1]', 'limit is [1]'), ('framing=krop', "did you mean 'crop'?"),
    ('optimizer=adma', "did you mean 'adam'?"), ('decoder_start=', "unknown decoder_start ''"), ('classifiers=3', 'classifiers is 3'),
    ('classifiers=Q', "unknown classifier 'Q'"), ('classifiers.V=', 'classifiers.V is ""'), ('classifiers.=small/vgg', "classifier name ''"),
    ('classifiers.S=small/vgg', "classifier name 'S' is taken"), ('classifiers.v=small/vgg', "'V' is taken"), ('bs=1\nsize=32', 'bs is "1\\nsize=32"')]


@pytest.mark.parametrize('text, words', [(o[0], o[1:]) for o in wrong], ids=lambda o: o[:20] if isinstance(o, str) else '')
def test_a_wrong_setting_is_one_line_and_nothing_is_written(tmp_path, text, words):
    for more in ([], ['--print-config']): one_line(aeclf(tmp_path, 'run', '--set', text, *more), *words)
    assert list(tmp_path.iterdir()) == []


right = [('size=32', 'size', 32), ('data=folder:a b=c', 'data', 'folder:a b=c'), ('data=1', 'data', '1'), ('data="photos"', 'data', 'photos'),
         ('pretrain=', 'pretrain', ''), ('widths=[8, 16, 32]', 'widths', [8, 16, 32]), ('limit=[100, 20]', 'limit', [100, 20]), ('limit=[]', 'limit', []),
         ('quick=true', 'quick', True), ('optimizer=sgd', 'optimizer', 'sgd'), ('lr.decoders=1e-3', 'lr', {'classifiers': 1e-3, 'autoencoder': 5e-3, 'decoders': 1e-3}),
         *((f'lr.decoders={text}', 'lr', {'classifiers': 1e-3, 'autoencoder': 5e-3, 'decoders': value}) for text, value in (('.001', 0.001), ('+.5', 0.5), ('1.', 1.0), ('1.e-2', 0.01))),
         ('data=.5', 'data', '.5'),
         ('epochs.decoders=0', 'epochs', {'classifiers': 10, 'autoencoder': 12, 'decoders': 0}), ('classifiers=V', 'classifiers', {'V': 'small/vgg'}),
         ('classifiers={x="small/vgg"}', 'classifiers', {'x': 'small/vgg'})]


@pytest.mark.parametrize('text, key, value', right, ids=lambda o: str(o)[:20])
def test_a_right_setting_is_taken(tmp_path, text, key, value): assert printed(tmp_path, '--set', text)[key] == value


order = [   # what is said, and the setting that comes of it: defaults < preset < --config < options < --set
    ([], 'seed', 0), (['preset'], 'seed', 1), (['preset', 'config'], 'seed', 2), (['preset', 'config', 'option'], 'seed', 0), (['preset', 'config', 'option', 'set'], 'seed', 4),
    (['set', 'option', 'config', 'preset'], 'seed', 4), (['preset', 'config'], 'bs', 7), (['config', 'option'], 'size', 48), (['config', 'option', 'set'], 'size', 40),
    (['preset', 'config'], 'lr', {'classifiers': 0.1, 'autoencoder': 0.2, 'decoders': 0.3}), (['config', 'set'], 'lr', {'classifiers': 0.001, 'autoencoder': 0.005, 'decoders': 0.4}),
    (['preset', 'set'], 'lr', {'classifiers': 0.1, 'autoencoder': 0.2, 'decoders': 0.4}), (['preset'], 'classifiers', {'V': 'small/vgg'}),
    (['preset', 'config'], 'classifiers', {'own': 'nets.py:make'})]
said = {'preset': ['--preset', 'preset.toml'], 'config': ['--config', 'config.toml'], 'option': ['--seed', '0', '--size', '48'],
        'set': ['--set', 'seed=3', '--set', 'seed=4', '--set', 'size=40', '--set', 'lr.decoders=0.4']}


@pytest.mark.parametrize('places, key, value', order)
def test_the_order_of_places(tmp_path, places, key, value):
    (tmp_path/'preset.toml').write_text('seed = 1\nbs = 7\nclassifiers = "V"\n[lr]\nclassifiers = 0.1\nautoencoder = 0.2\ndecoders = 0.3\n')
    (tmp_path/'config.toml').write_text('seed = 2\nsize = 32\n[classifiers]\nown = "nets.py:make"\n')
    assert printed(tmp_path, *[word for place in places for word in said[place]])[key] == value


@pytest.mark.parametrize('said, epochs', [
    (['--quick'], (1, 1, 1)), (['--set', 'quick=true'], (1, 1, 1)), (['--quick', '--epochs', '1,2,3'], (1, 2, 3)), (['--quick', '--set', 'epochs.decoders=3'], (1, 1, 3)),
    (['--set', 'epochs.decoders=3', '--set', 'quick=true'], (1, 1, 3)), (['--config', 'quick.toml'], (4, 5, 6)), (['--config', 'quick.toml', '--quick'], (1, 1, 1)),
    (['--config', 'few.toml'], (1, 1, 1)), (['--config', 'few.toml', '--set', 'quick=false'], (10, 12, 5))])
def test_one_epoch_each_where_it_is_quick_unless_somebody_says_otherwise(tmp_path, said, epochs):
    (tmp_path/'quick.toml').write_text('quick = true\n[epochs]\nclassifiers = 4\nautoencoder = 5\ndecoders = 6\n')
    (tmp_path/'few.toml').write_text('quick = true\n')
    assert tuple(printed(tmp_path, *said)['epochs'].values()) == epochs


@pytest.mark.parametrize('config', [Config(), Config(seed=7, quick=True, limit=(3, 4), widths=(8, 16), convs=(1, 1)), configure('cues:hue', settings={'bs': 4}), configure(size=224),
                                    Config(data='folder:a "b" # c', classifiers={'x.y': 'a b.py:make:w.pth', 'é': 'small/vgg'}, lr=dict(classifiers=1e-9, autoencoder=0.5, decoders=1))])
def test_a_file_gives_its_configuration_and_so_does_what_is_printed_of_it(tmp_path, config):
    (tmp_path/'study').mkdir()
    write_config(config, tmp_path/'study'/'study.toml')
    assert configure(config=tmp_path/'study') == configure(config=tmp_path/'study'/'study.toml') == config
    (tmp_path/'printed.toml').write_text(aeclf(tmp_path, 'run', '--config', 'study', '--print-config').stdout, encoding='utf-8')
    assert configure(config=tmp_path/'printed.toml', preset='cues') == config
    words = shlex.split(command_of(config))
    assert words[:2] == ['aeclf', 'run'] and printed(tmp_path, *words[2:]) == tomllib.loads(commented(config))


def test_every_setting_is_printed_with_a_comment(tmp_path):
    text = aeclf(tmp_path, 'run', '--print-config').stdout
    commented = dict(re.findall(r'^\[?(\w+)\]?\s.*?# (.+)$', text, re.M))
    assert set(commented) == set(tomllib.loads(text)) and 'None' not in commented.values()


@pytest.mark.parametrize('text, words', [
    (None, 'x.toml: no such file; give a study.toml or the folder of a study'), ('bs = \n', 'x.toml: not a readable TOML file'), ('bs = 0\n', 'x.toml: bs is 0'),
    ('preset = {extends = "paper"}\n', 'x.toml: a preset, by its key preset; give it as --preset x.toml'), ('sise = 3\n', "x.toml: unknown setting 'sise'; did you mean 'size'?"),
    ('[classifiers]\nA_V = "small/vgg"\n', "x.toml: classifiers: classifier name 'A_V' is taken"),
    ('data = "given:12"\n', 'x.toml: the images were handed over in Python'), ('data = "given"\n', '--data'),
    ('[classifiers]\nmine = "given:12"\n', "x.toml: the network 'mine' was handed over in Python")])
def test_a_faulty_file_is_one_line_and_nothing_is_written(tmp_path, text, words):
    if text: (tmp_path/'x.toml').write_text(text)
    one_line(aeclf(tmp_path, 'run', '--config', 'x.toml'), words)
    assert [p.name for p in tmp_path.iterdir()] == (['x.toml'] if text else [])


def test_a_study_is_gone_on_with_by_its_own_file(pictures, tmp_path):
    args = ['--data', f'folder:{pictures}', '--classifiers', 'V', '--size', '32', '--epochs', '0,0,0', '--set', 'widths=[8,8,8]', '--set', 'panels=1']
    assert aeclf(tmp_path, 'run', *args, '--out', 'one').returncode == 0
    again = aeclf(tmp_path, 'run', '--config', 'one', '--out', 'one')
    assert again.returncode == 0 and 'nothing was trained' in again.stdout
    one_line(aeclf(tmp_path, 'run', '--config', 'one', '--set', 'bs=8', '--out', 'one'), 'bs is 16 there and 8 here')
    assert {**printed(tmp_path, '--config', 'one'), 'threads': 0} == printed(tmp_path, *args)   # it keeps with how many it began


def test_a_log_has_a_line_for_every_epoch_with_the_time_that_is_left(pictures, tmp_path):
    args = ['--data', f'folder:{pictures}', '--classifiers', 'V', '--size', '32', '--epochs', '1,2,3', '--set', 'widths=[8,8,8]', '--set', 'panels=1']
    said = aeclf(tmp_path, 'run', *args, '--out', 'one').stdout.splitlines()
    lines = [re.match(r'(\w+ \w+) +epoch (\d of \d): train loss [\d.]+, valid loss [\d.]+(?:, top-1 [\d.]+)?; \d+ s, \d+ s left$', line) for line in said]
    assert [o.groups() for o in lines if o] == [('autoencoder S', '1 of 2'), ('decoder V', '1 of 3'), ('decoder V', '2 of 3')]


def test_apples_gpu_is_taken_where_torch_has_it_and_no_other_is_there(monkeypatch):
    from aeclf import workspace
    for there,taken in (((), 'cpu'), (('mps',), 'mps'), (('cuda',), 'cuda'), (('cuda', 'mps'), 'cuda')):
        for kind in list(workspace._GPUS): monkeypatch.setitem(workspace._GPUS, kind, lambda kind=kind: kind in there)
        assert workspace.usable_device('auto') == taken and workspace.usable_device('cpu') == 'cpu'


def test_version_and_module(tmp_path):
    said = aeclf(tmp_path, '--version')
    assert said.returncode == 0 and re.fullmatch(r'aeclf (\d+\.\d+.*|\(not installed\))\n', said.stdout)
    (tmp_path/'t.csv').write_text(',L,A\nL,1,0.9\nA,.5,1\n')
    for args in (['lattice', 't.csv'], ['lattice', 'none.csv'], ['--version'], []):
        as_module,ours = (subprocess.run([*command, *args], cwd=tmp_path, capture_output=True, text=True) for command in ([sys.executable, '-m', 'aeclf'], aeclf_command))
        assert (as_module.returncode, as_module.stdout, as_module.stderr) == (ours.returncode, ours.stdout, ours.stderr)


@pytest.fixture(scope='module')
def begun(pictures):
    "A finished study of two classifiers, and the options that began it."
    args = ['--data', f'folder:{pictures}', '--classifiers', 'L,R', '--size', '32', '--epochs', '1,1,1', '--set', 'widths=[8,8,8]', '--set', 'panels=1', '--set', 'read_along=true']
    where = pictures.parent/'begun'
    assert aeclf(pictures.parent, 'run', *args, '--out', where).returncode == 0
    return where, args


def trained(folder):
    "What the trainings of a study have left, byte for byte; the lines of its run that trained something are those of its ledger."
    return {str(p.relative_to(folder)): p.read_bytes() for kind in ('classifiers', 'autoencoder', 'decoders', 'controls', 'history') for p in (folder/kind).rglob('*.*')}


@pytest.fixture(scope='module')
def one_more(begun):
    "A copy of that study with V, and what was said."
    where = shutil.copytree(begun[0], begun[0].with_name('one_more'))
    return where, aeclf(where.parent, 'run', '--out', where, '--add', 'V=small/vgg')


def test_one_classifier_more_leaves_the_others_as_they_are(begun, one_more):
    (before,_),(where,result) = begun,one_more
    assert result.returncode == 0, result.stderr
    old,new = trained(before),trained(where)
    assert {f: new[f] for f in old} == old
    assert set(new)-set(old) == {'classifiers/V.safetensors', 'decoders/V.safetensors', 'history/V.csv', 'history/A_V.csv'}
    assert len(re.findall(r'^(?:classifier|autoencoder|decoder) \w .*, already there$', result.stdout, re.M)) == 5
    assert list(pd.read_csv(where/'crosseval'/'accuracy.csv', index_col=0).index) == ['original', 'S', 'L', 'R', 'V']
    assert pd.read_csv(where/'rrc.csv', index_col=0).shape == (3, 3)
    epochs = pd.read_csv(where/'rrc_epochs.csv')
    assert set(map(tuple, epochs[epochs.accuracy.isna()][['row', 'column']].values)) == {('L', 'V'), ('R', 'V')}
    page = (where/'report.html').read_text(encoding='utf-8')
    assert 'V came later and did not read along' in page and 'note: V came later' in result.stdout
    cells = [pd.read_csv(o/'crosseval'/'accuracy.csv', index_col=0) for o in (before, where)]
    assert cells[1].loc[cells[0].index, cells[0].columns].equals(cells[0])


def test_then_nothing_is_left_to_do_by_whatever_command(begun, one_more):
    (_,args),(where,_) = begun,one_more
    for command in (args, ['--config', where], ['--add', 'V=small/vgg'], [*args, '--add', 'V']):
        again = aeclf(where.parent, 'run', *command, '--out', where)
        assert again.returncode == 0 and 'nothing was trained' in again.stdout, again.stderr
    one_line(aeclf(where.parent, 'run', *args, '--seed', 1, '--out', where), 'seed is 0 there and 1 here')


def test_from_its_configuration_it_comes_out_the_same(one_more, tmp_path):
    where,_ = one_more
    assert aeclf(where.parent, 'run', '--config', where, '--out', tmp_path/'anew').returncode == 0
    assert trained(tmp_path/'anew') == trained(where)
    assert (tmp_path/'anew'/'crosseval'/'ranks.npy').read_bytes() == (where/'crosseval'/'ranks.npy').read_bytes()


def test_a_lost_decoder_comes_back_as_it_was(one_more, tmp_path):
    where = shutil.copytree(one_more[0], tmp_path/'study')
    for name in ('L', 'V'): (where/'decoders'/f'{name}.safetensors').unlink()
    assert aeclf(tmp_path, 'run', '--config', where, '--out', where).returncode == 0
    assert trained(where) == trained(one_more[0])


def test_controls_and_seeds_get_the_newcomer_too(begun, tmp_path):
    where,args = shutil.copytree(begun[0], tmp_path/'study'),begun[1]
    more = ['--controls', '--seeds', '2', '--out', where]
    assert aeclf(tmp_path, 'run', *args, *more).returncode == 0
    before = {folder: trained(folder) for folder in (where, where/'seeds'/'1')}
    result = aeclf(tmp_path, 'run', *args, *more, '--add', 'V', '--add', 'A=small/alexnet')
    assert result.returncode == 0, result.stderr
    for folder,old in before.items():
        new = trained(folder)
        assert {f: new[f] for f in old} == old
        assert {'decoders/V.safetensors', 'decoders/A.safetensors'} <= set(new)-set(old)
        assert read_config(folder/'study.toml').added == ('V', 'A')
    assert {p.stem for p in (where/'controls').iterdir()} == {'M', 'N_L', 'N_R', 'N_V', 'N_A'}
    assert list(pd.read_csv(where/'history'/'A_V.csv').columns[-3:]) == ['L', 'R', 'V'] and list(pd.read_csv(where/'history'/'A_A.csv').columns[-4:]) == ['L', 'R', 'V', 'A']
    again = aeclf(tmp_path, 'run', *args, '--seeds', '2', '--out', where)
    assert again.returncode == 0 and 'nothing was trained' in again.stdout


@pytest.mark.parametrize('add, words', [
    (['R=small/vgg'], "already has a classifier 'R' (small/resnet); give the new one another name"), (['r=small/vgg'], "already has a classifier 'R'"),
    (['S=small/vgg'], "'S' is taken"), (['W=small/vgg:none.pth'], 'none.pth'), (['W=small/vg'], "did you mean 'small/vgg'?"), (['W='], "'W'"), ([''], 'give at least one'),
    (['=small/vgg'], "''"), (['Q'], "unknown classifier 'Q'"), (['V=small/vgg', 'V=small/alexnet'], "'V' is taken"), (['V', 'W=small/vgg:none.pth'], 'none.pth'),
    (['W=nets.py:make'], 'nets.py')])
def test_who_cannot_take_part_leaves_all_as_it_is(begun, add, words):
    where,_ = begun
    before = {p: p.read_bytes() for p in where.rglob('*') if p.is_file()}
    one_line(aeclf(where.parent, 'run', '--out', where, *[word for text in add for word in ('--add', text)]), words)
    assert {p: p.read_bytes() for p in where.rglob('*') if p.is_file()} == before


def test_there_has_to_be_a_study_to_add_to(tmp_path):
    one_line(aeclf(tmp_path, 'run', '--add', 'V', '--out', 'nowhere'), 'nowhere: no study there to add to')
    one_line(aeclf(tmp_path, 'run', '--add', 'V'), 'photos: no study there to add to')
    one_line(aeclf(tmp_path, 'run', '--add', 'V', '--quick'), 'photos: no study there yet')
    assert list(tmp_path.iterdir()) == []


def networks(folder, **named):
    "The classifiers of a command: name → function of `nets.py` in the folder, and file of weights beside it."
    return ','.join(f'{name}={folder}/nets.py:{function}:{folder}/{file}.safetensors' for name,(function,file) in named.items())


imagenet_networks = networks('imagenet-networks', sq=('squeezenet', 'squeezenet1_1'), m025=('mobilenet_v1_025', 'mobilenet_v1_0.25_128'), m050=('mobilenet_v1_050', 'mobilenet_v1_0.5_160'),
                             m075=('mobilenet_v1_075', 'mobilenet_v1_0.75_192'), m2=('mobilenet_v2', 'mobilenet_v2_1.0_224'), e0=('efficientnet_lite0', 'tf_efficientnet_lite0'), e2=('efficientnet_lite2', 'tf_efficientnet_lite2'))
siblings = 'aeclf run --preset cifar10-reduced --data folder:cifar10 --set limit=[10000,10000] --classifiers '+networks('cifar10-resnets', **{f'R{k}': (f'resnet{k}', f'resnet{k}') for k in (20, 32, 44, 56)})
three_networks = networks('imagenet-networks', sq=('squeezenet', 'squeezenet1_1'), m050=('mobilenet_v1_050', 'mobilenet_v1_0.5_160'), m2=('mobilenet_v2', 'mobilenet_v2_1.0_224'))


def sixty(draw):
    "What three networks keep with an A_S that has learnt from 1,000 pictures, from sixty, and from 300: name of the result → command."
    at,seed = (f'ready-start/draw-{draw}/',f' --seed {draw}') if draw else ('ready-start/','')
    starts = {'1000': '', '60': ' --set autoencoder=', '300': f' --set autoencoder= --pretrain folder:own300-{draw}'}
    return {at+start: f'aeclf run --preset pretrained --data imagenet:own60-{draw} --labels own --set epochs.decoders=20 --set panels=4{more}{seed} --classifiers {three_networks}'
            for start,more in starts.items()}


kept = {   # the study.toml of a result, and the command that repeats it
    **sixty(0), **sixty(1),
    'imagenet-public': f'aeclf run --preset pretrained --set autoencoder= --data imagenet:imagenet-public --classifiers {imagenet_networks} --seeds 3',
    'cifar-public': siblings, 'cifar-public/own': f'{siblings} --labels own',
    'photos': 'aeclf run --set read_along=true --set watch=260', 'cifar10': 'aeclf run --preset cifar10-reduced --set read_along=true --data folder:cifar10',
    **{f'cues/A_S-{seed}': 'aeclf run --data cues --set read_along=true --seeds 3' for seed in range(3)},
    **{f'cues/random-{seed}': 'aeclf run --data cues --preset cues-random --set read_along=true --seeds 3' for seed in range(3)},
    'cues/short': 'aeclf run --data cues --set read_along=true --epochs 8,4,1', 'cues/slower': 'aeclf run --data cues --set read_along=true --set lr.decoders=0.005',
    'cues/four': 'aeclf run --data cues:hue,shape,grating,position --set read_along=true', 'cues/correlated': 'aeclf run --data cues:hue,shape,grating,correlation=0.5 --set read_along=true'}
results = sorted(str(p.parent.relative_to(project/'results')) for p in (project/'results').rglob('study.toml'))


def test_commands_are_of_results_that_are_kept(): assert set(kept) == set(results)


@pytest.mark.parametrize('name', results)
def test_the_command_of_a_result_gives_its_configuration(tmp_path, name):
    folder,command = project/'results'/name,kept[name]
    pages = ''.join(p.read_text(encoding='utf-8') for p in (folder, folder.parent) for p in p.glob('README.md'))
    assert command in re.sub(r'(?<= )\\\n *|\\\n', '', pages), 'its README should name the command'
    there,words = read_config(folder/'study.toml'),shlex.split(command)[2:]
    ours = printed(tmp_path, *words, '--seed', there.seed)   # of several seeds each has a folder
    given = tomllib.loads(commented(there))
    if handed_over(there):   # by the command the images are drawn, as they were then
        recorded = json.loads((folder/'provenance.json').read_text())['digest']
        assert handed_over(there) == ['data'] and images_digest(load(ours['data'], ours['size']).valid_ds) == recorded
        given['data'] = ours['data']
    assert ours == given | {'threads': ours['threads']}   # as many as there were when it began
    assert printed(tmp_path, '--config', folder, '--set', f'data={given["data"]}') == given


def texts():
    "Every page: name, and its text, of notebooks the cells that are prose."
    for page in [*project.glob('*.md'), *(project/'results').rglob('*.md')]: yield page, page.read_text(encoding='utf-8')
    for page in (project/'nbs').rglob('*.ipynb'):
        if '.ipynb_checkpoints' in page.parts: continue
        cells = json.loads(page.read_text(encoding='utf-8'))['cells']
        yield page, '\n\n'.join(''.join(c['source']) for c in cells if c['cell_type'] == 'markdown')


def commands():
    "Every whole command that a page or the help names, once, with where it stands."
    found = {}
    for page,text in texts():
        named = re.findall(r'`(aeclf [^`\n]*)`', text) + re.findall(r'^(?:.*&& )?(aeclf .*)$', '\n'.join(re.findall(r'```sh\n(.*?)```', text, re.S)).replace('\\\n', ''), re.M)
        found |= {command: str(page.relative_to(project)) for command in named}
    examples = re.findall(r'Example: (aeclf .*)', (project/'aeclf'/'cli.py').read_text(encoding='utf-8'))
    return found | {command: 'aeclf/cli.py' for command in examples}


@pytest.mark.parametrize('command', sorted(c for c in commands() if '…' not in c))
def test_a_command_that_a_page_names_is_understood(command):
    name,*words = shlex.split(command)[1:]
    group = typer.main.get_command(app)
    if name == 'run':
        words = ['2' if w=='N' else w for w in words]   # of a number that is the reader's
        result = aeclf(project, name, *words, '--print-config')
        assert result.returncode == 0, result.stderr
    elif name.startswith('-'): group.make_context('aeclf', [name], resilient_parsing=True)
    elif words: group.commands[name].make_context(name, words)
    else: assert name in group.commands


@pytest.mark.parametrize('args, classifiers, added', [
    (['--classifiers', 'L,A'], 'LA', []), (['--set', 'classifiers=L'], 'L', []), (['--classifiers', 'A,V,R'], 'AVR', ['V', 'R']),
    (['--classifiers', 'V'], 'V', []), (['--classifiers', 'V', '--set', 'classifiers.L=small/vgg'], 'VL', ['V']), ([], 'LAVR', ['V', 'R'])])
def test_classifiers_that_are_chosen_leave_out_those_that_came_later(tmp_path, args, classifiers, added):
    "Options count more than a file: what it says of its later classifiers holds for those that stay."
    (tmp_path/'g.toml').write_text('added = ["V", "R"]\n[classifiers]\n'+''.join(f'{k} = "small/{v}"\n' for k, v in zip('LAVR', ('lenet', 'alexnet', 'vgg', 'resnet'))))
    made = printed(tmp_path, '--config', 'g.toml', *args)
    assert (''.join(made['classifiers']), made['added']) == (classifiers, added)
    one_line(aeclf(tmp_path, 'run', '--config', 'g.toml', '--classifiers', 'L', '--set', 'added=["V"]'), "'V' is not among the classifiers")


@pytest.mark.parametrize('where', ['elsewhere', '.'])
def test_a_configuration_finds_its_files_from_another_folder(tmp_path, pictures, where):
    "What study.toml names by a relative path lies where it lay; what lies here under that name counts first, as ever."
    home, away = tmp_path/'home', tmp_path/where
    for folder in (home, away): folder.mkdir(exist_ok=True)
    for name in ('pics', 'more'): shutil.copytree(pictures, home/name)
    (home/'nets.py').write_text('from aeclf.classifiers import small_resnet\ndef make(n_classes): return small_resnet(n_classes)\n')
    save_weights(home/'r.safetensors', classifier('small/resnet', 2), classes=['chelsea', 'coffee'])
    with contextlib.chdir(home): Study(configure('folder:pics', 'nets.py:make,R:r.safetensors', 32, '0,0,0', pretrain='folder:more'), 'study', 'cpu').prepare()
    with contextlib.chdir(away):
        anew = Study(configure(config=home/'study'), 'new', 'cpu')
        anew.prepare()
        assert len(anew.images.valid_ds) and anew.place('pics') == str(home/'pics') and anew.place('nets.py') == str(home/'nets.py')
        assert Study.open('new', 'cpu', say=print).initial('R') is not None
        shutil.copytree(home/'pics', 'pics')
        assert 'pics' not in configure(config=home/'study').files
        assert len(Study(configure(config=home/'study'), home/'study', 'cpu').images.valid_ds)   # gone on with
    assert aeclf(away, 'run', '--config', home/'study', '--data', 'folder:gone', '--out', 'third').stderr.count('gone: no such folder') == 1

"Settings that somebody has written: a preset of one's own and a study.toml that was edited. Every mistake is one line that names file, key and remedy."
import pytest

from aeclf.config import Config, configure, preset_settings, presets, write_config
from aeclf.store import BadInput
from conftest import aeclf, one_line

three = 'classifiers = 1\nautoencoder = 2\ndecoders = {}\n'

settings = [   # a file, and words of the line that answers it
    ('size = "big"', 'size is "big"', 'a whole number from 1 up, such as 64'),
    ('size = 0', 'size is 0', 'from 1 up'),
    ('size = 64.5', 'size is 64.5', 'a whole number'),
    ('bs = 0', 'bs is 0', 'from 1 up, such as 16'),
    ('bs = true', 'bs is true', 'a whole number'),
    ('bs = [16]', 'bs is [16]', 'a whole number'),
    ('seed = -1', 'seed is -1', 'from 0 up'),
    ('watch = 0', 'watch is 0', 'from 1 up'),
    ('panels = 0', 'panels is 0', 'from 1 up, such as 25'),
    ('quick = 1', 'quick is 1', 'true or false'),
    ('table1 = "yes"', 'table1 is "yes"', 'true or false'),
    ('skip_unreadable = 0', 'skip_unreadable is 0', 'true or false'),
    ('data = 3', 'data is 3', 'text in quotes, such as "photos"'),
    ('data = 2020-01-01', 'data is "2020-01-01"', 'text in quotes'),
    ('pretrain = ["a"]', 'pretrain is ["a"]', 'text in quotes'),
    ('limit = 100', 'limit is 100', '[100, 20]'),
    ('limit = [100]', 'limit is [100]', '[100, 20]'),
    ('limit = [100, 0]', 'limit is [100, 0]', '[100, 20]'),
    ('widths = 16', 'widths is 16', 'a list of whole numbers from 1 up, such as [16, 32, 64]'),
    ('widths = []', 'widths is []', 'a list of whole numbers'),
    ('widths = [16, "wide", 64]', 'widths is [16, "wide", 64]', 'a list of whole numbers'),
    ('convs = [1, 0, 1]', 'convs is [1, 0, 1]', 'such as [1, 2, 2]'),
    ('widths = [8, 16]\nconvs = [1, 1, 1]', 'widths has length 2, convs 3', 'the same length'),
    ('optimizer = "adma"', "unknown optimizer 'adma'", "did you mean 'adam'?"),
    ('optimizer = 1', 'optimizer is 1', 'text in quotes'),
    ('framing = "krop"', "unknown framing 'krop'", "did you mean 'crop'?"),
    ('decoder_start = "A"', "unknown decoder_start 'A'", 'choose from S, random'),
    ('epochs = 8', 'epochs is 8', 'for each of classifiers, autoencoder, decoders'),
    ('[epochs]\ndecoders = 3', 'epochs has no classifiers', 'give all of classifiers, autoencoder, decoders'),
    ('[epochs]\n'+three.format(-3), 'epochs.decoders is -3', 'from 0 up, such as 5'),
    ('[epochs]\n'+three.format('3\nencoder = 1'), "epochs: unknown key 'encoder'", "did you mean 'decoders'?"),
    ('[epochs]\n'+three.format('3\nbs = 8'), 'bs stands under [epochs]', 'move it above'),
    ('[lr]\n'+three.format('"small"'), 'lr.decoders is "small"', 'a number above 0, such as 0.002'),
    ('[lr]\n'+three.format('nan'), 'lr.decoders is NaN', 'a number above 0'),
    ('[lr]\n'+three.format('inf'), 'lr.decoders is Infinity', 'a number above 0'),
    ('[lr]\n'+three.format('0'), 'lr.decoders is 0', 'a number above 0'),
    ('classifiers = 3', 'classifiers is 3', 'a table such as {V = "small/vgg"}'),
    ('[classifiers]', 'classifiers is {}', 'a table such as {V = "small/vgg"}'),
    ('[classifiers]\nV = 3', 'classifiers.V is 3', 'a table such as {V = "small/vgg"}'),
    ('[classifiers]\nV = ""', 'classifiers.V is ""', 'a table such as {V = "small/vgg"}'),
    ('sise = 64', "unknown setting 'sise'", "did you mean 'size'?"),
    ('batch_size_of_training = 64', "unknown setting 'batch_size_of_training'", 'choose from '),
    ('bs = "'+'x'*5000+'"', 'bs is "xxx', 'such as 16')]

of_presets = [
    ('preset = "paper"', 'preset is "paper"', 'preset = {extends = "paper"}'),
    ('[preset]\nextend = "paper"', "preset: unknown key 'extend'", "did you mean 'extends'?"),
    ('[preset]\nabout = 3', 'preset.about is 3', 'text in quotes'),
    ('[preset]\nabout = "mine"\nbs = 8', 'bs stands under [preset]', 'move it above'),
    ('[preset]\nextends = "papre"', "preset.extends: unknown preset 'papre'", "did you mean 'paper'?"),
    ('[preset]\nextends = "none.toml"', 'preset.extends: preset ', 'none.toml: no such file'),
    ('[preset]\nextends = "mine.toml"', 'extends itself (mine.toml → mine.toml)', 'take one extends out'),
    ('each_question = "V"', 'each_question is "V"', 'a table such as {V = "small/vgg"}'),
    ('[each_questions]\nV = "small/vgg"', "unknown setting 'each_questions'", "did you mean 'each_question'?"),
    ('classifiers = "V"\n[each_question]\nV = "small/vgg"', 'classifiers and each_question are both there', 'keep one'),
    ('classifiers = ""', 'classifiers: no classifiers', 'give at least one'),
    ('classifiers = "L,Z"', "classifiers: unknown classifier 'Z'", 'choose from L, A, V, I, R, '),
    ('[classifiers]\nS = "small/vgg"', "classifiers: classifier name 'S' is taken", 'S2=small/vgg'),
    ('[classifiers]\n"a/b" = "small/vgg"', "classifiers: classifier name 'a/b'", 'use letters, digits'),
    ('[preset]\nextends = "cifar10"', 'say where the images are', '--data cifar10:PATH'),
    ('widths = [8, 16]', 'widths has length 2, convs 3', 'the same length'),
    ('[files]\n"a.pth" = 3', "what stands of 'a.pth' under files", 'take it out'),
    ('bs = \n', 'not a readable TOML file', 'mend it or use another preset'),
    ('bs = 8\nbs = 9', 'not a readable TOML file', 'Cannot overwrite a value')]


def short(case): return case[0].splitlines()[-1][:30]


@pytest.mark.parametrize('case', settings+of_presets, ids=short)
def test_a_faulty_preset_is_one_line_and_nothing_is_written(tmp_path, case):
    text, *words = case
    (tmp_path/'mine.toml').write_text(text, encoding='utf-8')
    result = aeclf(tmp_path, 'run', '--preset', 'mine.toml')
    one_line(result, 'mine.toml', *words)
    assert len(result.stderr) < 600
    assert [p.name for p in tmp_path.iterdir()] == ['mine.toml']


@pytest.mark.parametrize('case', settings, ids=short)
def test_an_edited_study_is_one_line_with_another_remedy(tmp_path, case):
    text, *words = case
    (tmp_path/'study.toml').write_text(text, encoding='utf-8')
    for command in ('status', 'report'):
        one_line(aeclf(tmp_path, command, '.'), 'study.toml: not the configuration of a study', *words, 'restore it or start another study')


def test_files_that_are_no_text(tmp_path):
    for name in ('mine.toml', 'study.toml'): (tmp_path/name).write_bytes(b'bs = "\xff"')
    one_line(aeclf(tmp_path, 'run', '--preset', 'mine.toml'), 'mine.toml: not a readable TOML file', 'use another preset')
    one_line(aeclf(tmp_path, 'status', '.'), 'study.toml: not a readable configuration', 'restore it')


def test_a_configuration_from_a_notebook_is_checked_too(tmp_path):
    from aeclf.study import Study
    for wrong, words in [(dict(bs=0), 'bs is 0'), (dict(widths=(8,)), 'widths has length 1'), (dict(epochs={}), 'epochs has no classifiers'),
                         (dict(classifiers={'A_V': 'small/vgg'}), "'A_V' is taken")]:
        with pytest.raises(BadInput, match=words): Study(Config(**wrong), tmp_path/'study', 'cpu').run()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BadInput, match='seed is "one"'): configure(seed='one')
    with pytest.raises(BadInput, match='three whole numbers'): configure(epochs=(1, 2, 3))


def test_what_a_file_extends_is_found_beside_it(tmp_path, monkeypatch):
    (tmp_path/'presets').mkdir()
    (tmp_path/'presets'/'base.toml').write_text('preset = {extends = "cues"}\nbs = 4\nsize = 32\n')
    (tmp_path/'presets'/'mine.toml').write_text('preset = {extends = "base.toml"}\nsize = 48\n')
    (tmp_path/'base.toml').write_text('bs = 99\n')   # not this one
    monkeypatch.chdir(tmp_path)
    (tmp_path/'placed.toml').write_text('data = "cifar10:elsewhere"\npreset = {extends = "cifar10"}\n')
    assert configure(preset='placed.toml').data == 'cifar10:elsewhere'
    mine = preset_settings('presets/mine.toml')
    assert (mine['bs'], mine['size'], mine['lr']) == (4, 48, preset_settings('cues')['lr'])


def test_a_circle_of_files_is_named(tmp_path):
    for name, base in [('a', 'b'), ('b', 'c'), ('c', 'a')]: (tmp_path/f'{name}.toml').write_text(f'preset = {{extends = "{base}.toml"}}\n')
    one_line(aeclf(tmp_path, 'run', '--preset', 'a.toml'), 'a.toml → b.toml → c.toml → a.toml', 'take one extends out')


def test_a_fault_in_what_is_extended_names_that_file(tmp_path):
    (tmp_path/'base.toml').write_text('bs = 0\n')
    (tmp_path/'mine.toml').write_text('preset = {extends = "base.toml"}\n')
    one_line(aeclf(tmp_path, 'run', '--preset', 'mine.toml'), 'base.toml: bs is 0')


@pytest.mark.parametrize('text, words', [
    ('papre', "unknown preset 'papre'; did you mean 'paper'?"), ('mine', "unknown preset 'mine'; choose from"), ('gone.toml', 'gone.toml: no such file'),
    ('.', "unknown preset '.'")])
def test_presets_that_are_not_there(tmp_path, text, words): one_line(aeclf(tmp_path, 'run', '--preset', text), words)


def test_what_is_right_stays_right(tmp_path):
    for name in presets(): preset_settings(name)
    write_config(Config(), tmp_path/'defaults.toml')
    assert configure(preset=tmp_path/'defaults.toml') == Config()
    (tmp_path/'odd.toml').write_bytes('\ufeffseed = 0\npanels = 1\nlimit = []\nwatch = 1\nclassifiers = "L, mine=nets.py:make"\n[lr]\nclassifiers = 1\nautoencoder = 1e-9\ndecoders = 0.5\n'.encode())
    odd = configure(preset=tmp_path/'odd.toml')
    assert odd.classifiers == {'L': 'small/lenet5', 'mine': 'nets.py:make'} and odd.lr['classifiers'] == 1

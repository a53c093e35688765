"In which precision a study trains and measures, from the command line to the report."
import json

import pytest

from aeclf.config import read_config
from conftest import aeclf, one_line

tiny = ['--classifiers', 'L,R', '--epochs', '1,1,1', '--size', '32']


def run(pictures, where, *more):
    return aeclf(pictures.parent, 'run', '--data', f'folder:{pictures}', *tiny, '--out', where, *more)


@pytest.fixture(scope='module', params=['auto', 'bfloat16'])
def study(request, pictures):
    out = pictures.parent/f'in {request.param}'
    return request.param, out, run(pictures, out, '--device', 'cpu', '--precision', request.param)


WORDS = {'auto': ('on cpu in float32 →', 'float32', 'float32'), 'bfloat16': ('on cpu in bfloat16', 'bfloat16 autocast', 'bfloat16')}


def test_the_precision_stands_everywhere(study, pictures):
    precision,out,told = study
    first,training,measuring = WORDS[precision]
    assert told.returncode == 0, told.stderr
    assert first in told.stdout.splitlines()[0]
    assert read_config(out/'study.toml').precision == precision
    words = f'{training} in training, {measuring} in measuring'
    assert json.loads((out/'provenance.json').read_text())['precision'] == words
    page = (out/'report.html').read_text()
    assert words in page and ('--precision bfloat16' in page) == (precision == 'bfloat16')
    other = 'float32' if precision != 'float32' else 'auto'
    one_line(run(pictures, out, '--precision', other), f"precision is '{precision}' there and '{other}' here")


def test_a_study_of_before_has_no_word_on_precision_and_is_finished(study, tmp_path):
    precision,out,_ = study
    if precision != 'auto': return
    settings = (out/'study.toml').read_text()
    assert settings.count('precision = "auto"\n') == 1
    (out/'study.toml').write_text(settings.replace('precision = "auto"\n', ''))
    told = aeclf(tmp_path, 'run', '--out', out, '--accept', 'study.toml')
    assert 'this study is finished, nothing was trained' in told.stdout


@pytest.mark.parametrize('args, words', [
    (['--precision', 'bfloat17'], ["unknown precision 'bfloat17'", "did you mean 'bfloat16'"]),
    (['--precision', 'half'], ["unknown precision 'half'", 'choose from auto, float32, bfloat16']),
    (['--set', 'precision=16'], ["precision '16'", 'choose from'])])
def test_a_wrong_precision(tmp_path, args, words):
    one_line(aeclf(tmp_path, 'run', *args), *words)
    assert list(tmp_path.iterdir()) == []

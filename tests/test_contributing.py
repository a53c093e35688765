"What CONTRIBUTING shows works as it stands there: a source, a family, a preset, a stage, a table and a figure from outside of the package."
import contextlib, io, re
from pathlib import Path

import pytest

from aeclf.classifiers import FAMILIES
from aeclf.data import SOURCES
from aeclf.results import RESULTS
from aeclf.stages import STAGES
from conftest import aeclf, one_line

text = (Path(__file__).parents[1]/'CONTRIBUTING.md').read_text(encoding='utf-8')
registries = (SOURCES, FAMILIES, STAGES, RESULTS)
*blocks, run_all = re.findall(r'```python\n(.*?)```', text, re.S)
preset, = re.findall(r'```toml\n(.*?)```', text, re.S)


@pytest.fixture(scope='module')
def added():
    "The examples, run; taken out again afterwards."
    before = [dict(o) for o in registries]
    names = {}
    for block in blocks: exec(block, names)
    yield names
    for registry,held in zip(registries, before):
        registry.clear()
        registry.update(held)


@pytest.fixture(scope='module')
def study(added, tmp_path_factory):
    "A quick study with all that was added, and what its run printed."
    where = tmp_path_factory.mktemp('contributing')
    (where/'halves.toml').write_text(preset, encoding='utf-8')
    said = io.StringIO()
    with contextlib.chdir(where), contextlib.redirect_stdout(said): exec(run_all, added)
    return where/'studies'/'halves', said.getvalue()


def test_the_study_folder_has_what_was_added(study):
    folder, said = study
    assert {p.stem for p in (folder/'classifiers').iterdir()} == {'L', 'P'}
    assert all((folder/f).is_file() for f in ('brightness.txt', 'evidence/hardest.csv', 'figures/hardest.png'))
    assert re.search(r'^brightness: \d\.\d+ on average$', said, re.M)


def test_the_report_shows_it(study):
    page = (study[0]/'report.html').read_text(encoding='utf-8')
    assert 'id="table-hardest"' in page and 'How many classifiers recognise an image' in page
    assert 'alt="how many classifiers recognise an image"' in page


@pytest.mark.parametrize('file, stage', [('brightness.txt', 'brightness'), ('evidence/hardest.csv', 'evidence'), ('figures/hardest.png', 'figures')])
def test_what_was_added_is_missed_and_restored(study, file, stage):
    folder, _ = study
    held = (folder/file).read_bytes()
    (folder/file).unlink()
    assert re.search(rf'^{stage} +to do \({file} is lost\)', aeclf(folder.parent, 'status', folder).stdout, re.M)
    again = aeclf(folder.parents[1], 'run', '--quick', '--preset', 'halves.toml')
    assert again.returncode == 0 and (folder/file).read_bytes() == held


def test_errors_offer_it(added, tmp_path):
    one_line(aeclf(tmp_path, 'run', '--data', 'qqq'), "'qqq'", 'halves', 'photos')
    one_line(aeclf(tmp_path, 'run', '--data', 'halvs'), "did you mean 'halves'")
    one_line(aeclf(tmp_path, 'run', '--classifiers', 'qqq=qqq/1'), "'qqq/1'", 'pooled/NAME')
    one_line(aeclf(tmp_path, 'run', '--preset', 'qqq'), "'qqq'", 'FILE.toml', 'paper')


def test_another_process_knows_nothing_of_it(tmp_path):
    (tmp_path/'halves.toml').write_text(preset, encoding='utf-8')
    one_line(aeclf(tmp_path, 'run', '--quick', '--preset', 'halves.toml', process=True), "unknown data set 'halves'", 'photos')
    assert [p.name for p in tmp_path.iterdir()] == ['halves.toml']

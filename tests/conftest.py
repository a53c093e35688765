"What several test files share: the command line, and a folder of pictures."
import contextlib,io,json,subprocess,sys,warnings
from pathlib import Path

import pytest
from PIL import Image

from aeclf.cli import main
from aeclf.data import photograph

command = [str(Path(sys.executable).with_name('aeclf'))]


def aeclf(cwd, *args, process=False, timeout=300):
    "The command in the folder `cwd`; in this process unless asked otherwise, since importing torch takes longer than most commands."
    args = [str(a) for a in args]
    if process: return subprocess.run(command+args, cwd=cwd, capture_output=True, text=True, timeout=timeout)
    out,err,code = io.StringIO(),io.StringIO(),0
    with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        try: main(args)
        except SystemExit as e: code = e.code or 0
    return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())


def one_line(result, *words):
    "A user's mistake: exit code 2, one line on stderr that holds `words`, nothing on stdout."
    assert result.returncode == 2 and result.stdout == ''
    lines = result.stderr.splitlines()
    assert len(lines) == 1, lines
    for word in words: assert word in lines[0]


@pytest.fixture(scope='session')
def pictures(tmp_path_factory):
    "A folder of two classes, sixteen pictures each, one grey and one with transparency among them."
    root = tmp_path_factory.mktemp('data')/'pictures'
    for name in ('coffee', 'chelsea'):
        (root/name).mkdir(parents=True)
        for k in range(16): Image.fromarray(photograph(name)[10*k:10*k+80, 12*k:12*k+100]).save(root/name/f'{k:02}.png')
    Image.open(root/'coffee'/'00.png').convert('L').save(root/'coffee'/'00.png')
    Image.open(root/'coffee'/'01.png').convert('RGBA').save(root/'coffee'/'01.png')
    return root


def without_digests(study):
    "Make the ledger of a study one of before, which has no digests of what stages left."
    entries = json.loads((study/'stages.json').read_text())
    entries.pop('itself')
    for entry in entries.values(): entry['left'] = list(entry['left'])
    (study/'stages.json').write_text(json.dumps(entries, indent=1))

"""What is kept of a finished study: its numbers, its curves, and a few pictures in few colours.

python tools/keep.py STUDY FOLDER [FILE …]   more files by their names in the study, such as figures/null_lattices.png
"""
import shutil
import sys
from pathlib import Path

from PIL import Image

from aeclf.config import config_text
from aeclf.store import atomic
from aeclf.study import Study

TABLES = ('crosseval/accuracy', 'artefacts', 'information', 'lattices', 'quality', 'rrc', 'rrc_epochs', 'seeds', 'seed_spread')
FOLDERS = ('crosseval', 'evidence', 'history')
PICTURES = {'figures/panels/overview.png': 'overview.png', 'figures/lattice.png': 'lattice.png'}


def in_few_colours(file, to):
    "A picture with at most 256 colours: a fraction of its bytes, and nothing to see of it."
    with Image.open(file) as picture, atomic(to) as part: picture.convert('RGB').quantize(256).save(part, format='png', optimize=True)


def keep(study, folder, more=()):
    study, folder = Path(study), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = Study.open(study).config
    (folder/'study.toml').write_text(config_text(config, paths=False), encoding='utf-8')   # where files lay is nobody's business
    shutil.copy(study/'provenance.json', folder)
    for name in TABLES:
        of_study = name != 'rrc_epochs' or config.read_along   # else one that lies there is of an earlier study
        if of_study and (study/f'{name}.csv').is_file(): shutil.copy(study/f'{name}.csv', folder)
    for name in FOLDERS: shutil.copytree(study/name, folder/name, dirs_exist_ok=True)
    for name, to in {**PICTURES, **{f: Path(f).name for f in more}}.items(): in_few_colours(study/name, folder/to)


if __name__ == '__main__': keep(*sys.argv[1:3], sys.argv[3:])

"""What is kept of a finished study: its numbers, its curves, and a few pictures, in few colours or, of large images, as JPEG.

python tools/keep.py STUDY FOLDER [FILE …]   more files by their names in the study, such as figures/null_lattices.png
"""
import csv
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from aeclf.config import config_text
from aeclf.reconstruction import reconstruct
from aeclf.results import over_seeds, seed_spread
from aeclf.store import atomic
from aeclf.study import Study

TABLES = ('crosseval/accuracy', 'artefacts', 'information', 'lattices', 'quality', 'rrc', 'rrc_epochs')
FOLDERS = ('crosseval', 'evidence', 'history')
LARGE = 128   # pixels, from which on images are kept as JPEG


def in_few_colours(file, to):
    "A picture with at most 256 colours: a fraction of its bytes, and nothing to see of it."
    with Image.open(file) as picture, atomic(to) as part: picture.convert('RGB').quantize(256).save(part, format='png', optimize=True)


def of_many_classes(folder, names):
    "The table of a row for each class where they are a thousand: a few images each, of which nothing can be said."
    return [name for name in names if name == 'per_class.csv' and (Path(folder)/name).stat().st_size > 2e5]


def sheet(images, study, to, scale):
    "Images and what every decoder of a study makes of them, as a JPEG."
    made = reconstruct(study.autoencoder().encoder, study.decoders(), images, study.config.bs)
    pixels = np.hstack([(o.clamp(0, 1).permute(0, 2, 3, 1).numpy()*255).round().astype(np.uint8).reshape(-1, *o.shape[-1:], 3) for o in (images, *made.values())])
    picture = Image.fromarray(pixels)
    with atomic(to) as part: picture.reduce(scale).save(part, format='jpeg', quality=80)


def keep_panels(study, folder):
    "The images that are shown: six at full size, those of all panels at half of it, and which they are."
    n = study.config.panels
    images = study.shuffled_images(n)
    sheet(images[:6], study, folder/'overview.jpg', 1)
    sheet(images, study, folder/'panels.jpg', 2)
    with atomic(folder/'panels.csv') as part, open(part, 'w', newline='') as file:
        csv.writer(file, lineterminator='\n').writerows([['panel', 'image'], *((k, study.crosseval.ids[i]) for k, i in enumerate(study.first_numbers(n)))])


def keep_seed(study, folder, images):
    "Of a repetition: its cross-evaluation, its artefacts, and of large images what it makes of the study's first three."
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(study/'crosseval', folder/'crosseval', dirs_exist_ok=True)
    shutil.copy(study/'artefacts.csv', folder)
    if images.shape[-1] >= LARGE: sheet(images, Study.open(study), folder/'overview.jpg', 1)


def keep_seeds(study, folder):
    "The finished repetitions, and how far the tables differ between them; what is kept of others goes."
    shutil.rmtree(folder/'seeds', ignore_errors=True)
    for name in ('seeds.csv', 'seed_spread.csv'): (folder/name).unlink(missing_ok=True)
    accuracies = over_seeds(study)
    others = [str(seed) for seed in accuracies.seed.unique() if seed != study.config.seed]
    if not others: return
    accuracies.to_csv(folder/'seeds.csv', index=False)
    seed_spread(study).round(4).to_csv(folder/'seed_spread.csv')
    images = study.shuffled_images(3)
    for seed in others: keep_seed(study.path/'seeds'/seed, folder/'seeds'/seed, images)


def keep(study, folder, more=()):
    study, folder = Path(study), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    opened = Study.open(study)
    config = opened.config
    (folder/'study.toml').write_text(config_text(config, paths=False), encoding='utf-8')   # where files lay is nobody's business
    shutil.copy(study/'provenance.json', folder)
    for name in TABLES:
        of_study = name != 'rrc_epochs' or config.read_along   # else one that lies there is of an earlier study
        if of_study and (study/f'{name}.csv').is_file(): shutil.copy(study/f'{name}.csv', folder)
    for name in FOLDERS: shutil.copytree(study/name, folder/name, dirs_exist_ok=True, ignore=of_many_classes)
    pictures = ['figures/lattice.png', *more]
    if config.size < LARGE: pictures.append('figures/panels/overview.png')
    else: keep_panels(opened, folder)
    keep_seeds(opened, folder)
    for name in pictures: in_few_colours(study/name, folder/Path(name).name)


if __name__ == '__main__': keep(*sys.argv[1:3], sys.argv[3:])

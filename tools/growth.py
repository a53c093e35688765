"""How time and memory grow, measured; numbers to results/growth.

python tools/growth.py time           cross-evaluation against classifiers, images and image size, in turn, to time.csv
python tools/growth.py memory         most memory of every stage with 1,000 and with 10,000 measured images, to memory.csv
python tools/growth.py memory-224     the same at 224 pixels, few images: the small SegNet before light networks, the full one before the paper's five, to memory-224.csv
"""
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from PIL import Image

from aeclf.bench import WIDTHS, in_turn
from aeclf.classifiers import classifier
from aeclf.config import FULL_SEGNET
from aeclf.crosseval import cross_evaluate
from aeclf.data import PHOTOS, photograph
from aeclf.segnet import SegNet
from aeclf.store import seeded
from aeclf.study import Study, configure

results = Path(__file__).parents[1]/'results'/'growth'
CLASSIFIERS, IMAGES, SIZE = 4, 64, 64   # where nothing else is said
LIGHT = 'squeezenet=torchvision/squeezenet1_1,mobilenet=timm/mobilenetv2_100,efficientnet=timm/tf_efficientnet_lite0'   # for the small SegNet


def work(classifiers=CLASSIFIERS, images=IMAGES, size=SIZE):
    "A cross-evaluation of so many VGGs and their autoencoders, of random images."
    names = [f'V{k}' for k in range(classifiers)]
    with seeded(0):
        autos = {name: SegNet(**WIDTHS['small']).eval() for name in ('S', *names)}
        readers = {name: classifier('small/vgg', 13, size).eval() for name in names}
        batches = [(torch.rand(16, 3, size, size), torch.randint(13, (16,))) for _ in range(images//16)]
    decoders = {name: auto.decoder for name, auto in autos.items()}
    return lambda: cross_evaluate(autos['S'].encoder, decoders, readers, batches)


def time_rows(rounds=3):
    "Seconds of every round, a row each; what grows is named."
    for grows, values in dict(classifiers=(2, 4, 8), images=(32, 64, 128, 256), size=(32, 64, 128)).items():
        ways = {value: work(**{grows: value}) for value in values}
        for way in ways.values(): way()   # warm
        for k, row in in_turn(ways, rounds).iterrows():
            for value, seconds in row.items():
                yield dict(classifiers=CLASSIFIERS, images=IMAGES, size=SIZE) | {'grows': grows, grows: value, 'round': k, 'seconds': seconds}
        print(grows, 'measured', flush=True)


def most_memory(): return int(re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text())[1])*1024


def begin_anew(): Path('/proc/self/clear_refs').write_text('5')


def squares(folder, n, edge):
    "A folder of squares of photographs, a subfolder for each of thirteen classes, `n` in all."
    rng = np.random.default_rng(0)
    pictures = [photograph(name) for name in PHOTOS]
    for k in range(n):
        name, picture = PHOTOS[k % len(PHOTOS)], pictures[k % len(PHOTOS)]
        y, x = (rng.integers(side-edge+1) for side in picture.shape[:2])
        (folder/name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[y:y+edge, x:x+edge]).save(folder/name/f'{k:06}.jpg')


def of_stages(n, size, classifiers, **settings):
    "Most memory of every stage of a study that trains on few images and measures `n`; run in a process of its own."
    with TemporaryDirectory() as folder:
        for part, count in dict(train=130 if size < 224 else 26, valid=n).items(): squares(Path(folder)/'images'/part, count, size)
        config = configure(f'folder:{folder}/images', classifiers, size, epochs='3,4,2', settings=settings)
        rows = []

        def done(name, result, seconds):
            rows.append(dict(images=n, size=size, stage=name, memory=most_memory(), seconds=seconds))
            print(n, size, name, f'{rows[-1]["memory"]/1e9:.2f} GB', flush=True)
            begin_anew()
        Study(config, f'{folder}/study', 'cpu').run(done=done, say=lambda words: None)
    return pd.DataFrame(rows)


def in_own_process(*args):
    "What `of_stages` returns, of a fresh process."
    with TemporaryDirectory() as folder:
        file = f'{folder}/rows.csv'
        subprocess.run([sys.executable, __file__, 'one', file, *map(str, args)], check=True)
        return pd.read_csv(file)


def one(file, n, size, width):
    is_large = int(size) == 224
    settings = dict(FULL_SEGNET if width == 'full' else WIDTHS['small'], bs=4 if is_large else 16)
    of_stages(int(n), int(size), LIGHT if is_large and width == 'small' else None, **settings).assign(segnet=width).to_csv(file, index=False)


def write(name, frame):
    results.mkdir(exist_ok=True)
    frame.to_csv(results/name, index=False)


if __name__ == '__main__':
    what = sys.argv[1]
    if what == 'time': write('time.csv', pd.DataFrame(time_rows()))
    elif what == 'memory': write('memory.csv', pd.concat([in_own_process(n, 32, 'small') for n in (1000, 10000)]))
    elif what == 'memory-224': write('memory-224.csv', pd.concat([in_own_process(26, 224, width) for width in ('small', 'full')]))
    elif what == 'one': one(*sys.argv[2:])

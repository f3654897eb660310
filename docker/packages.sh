#!/bin/sh
# Fills /opt/venv while an image is built; not needed after that:
#   packages.sh REQUIREMENTS
set -eu

# Only wheels, so that building runs no code of a package; exact versions, each of them listed. The
# environment has no pip of its own: pip of the base can fill it.
HOME=/root PATH=${PATH#/opt/venv/bin:} python3 -m pip --python /opt/venv/bin/python install --quiet --no-input \
    --disable-pip-version-check --root-user-action ignore --only-binary :all: --no-deps --no-compile \
    --requirement "$1"
cd /opt/venv/lib/python3*/site-packages

# What nothing reads when the site runs: sources of translations, of types and of compiled modules,
# headers (TensorFlow's and CUDA's are 450 MB), packages' own tests (the folders stay: openpyxl looks into its own), and the descriptions of every
# cloud service but storage and what signs in to it. Licences and metadata stay.
find . -type f \( -name '*.po' -o -name '*.pyi' -o -name '*.c' -o -path '*/tests/*' -name 'test_*.py' \) \
    -delete
find . -name '*.dist-info' -prune -o -type d -name include -prune -exec rm -r {} +
find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name 'sso*' ! -name signin \
    -exec rm -r {} +

# What is up to date is left as it is. As with pip, a file that is for some other version of Python is
# no fault.
/opt/venv/bin/python -m compileall -qq -j 0 . || true

"""The files for deployment, run or validated by the real tools: `make check-deploy`."""

"""Tests of records, queue, storage and pages of the scans."""

"""The classes that the network tells apart, in the order of its outputs."""

CLASSES = ("glioma", "meningioma", "no_tumor", "pituitary")
NO_TUMOR = "no_tumor"

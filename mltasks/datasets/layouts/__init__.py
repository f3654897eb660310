"""The folder layouts people have, each in a module of the same shape.

A layout has a function that walks a folder and yields an `Item` for each image and a `LeftOut` for
each file that it does not take. It reads names and tables; images are decoded by the importer.
"""

"""What objects are: kinds, defaults, validation, selectors, patches, columns. Pure: no input, no output, no loop.

Objects are `lightkube`'s msgspec Structs. Nobody mutates one that came from the store, the client or an
informer; a changed object is made with `antei.api.objects.replace`.
"""

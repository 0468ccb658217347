"""A filter for subscriptions: only files of some mime types.

In a request: ``SUBSCRIBE?url=...&filter_plug_in=pyvospace_ngas.archive.examples.only_formats&
plug_in_pars=image/x-fits,text/plain``.
"""

from pyvospace_ngas.archive.interfaces import FileFacts


def only_formats(file: FileFacts, parameters: str) -> bool:
    """Whether the file's mime type is one of those in the parameters."""
    return file.format in {each.strip() for each in parameters.split(",")}

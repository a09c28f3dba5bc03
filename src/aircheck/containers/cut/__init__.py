"""Clips and joins by stream copy: parts of files, or several in a row, as one new file.

Theory of operation
    MP4 out of MP4s of ours is put together by their fragments' indexes: the cost follows the part, not the
    file, and no sample is looked at. It shows exactly what is asked for: what pictures and sound need before
    that is in the file, hidden by edit lists.

    All else goes packet by packet: libavformat reads (so files of others can be cut too), our writers write.
    Only MP4 can hide what comes before; the other containers begin at the nearest key frame before.

    Time is the stream's own where the files know it: several files of a recording lie on it as they were
    recorded, and what is missing between them is missing in the clip, for as long. Files that have nothing to
    do with each other are put back to back.
"""

from aircheck.containers.cut.cut import cut, join
from aircheck.containers.cut.source import Made, NothingThere, Progress, Range, Source

__all__ = ["Made", "NothingThere", "Progress", "Range", "Source", "cut", "join"]

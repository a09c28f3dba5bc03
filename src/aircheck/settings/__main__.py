import sys

from aircheck.settings.reference import reference_page

sys.stdout.write(reference_page())

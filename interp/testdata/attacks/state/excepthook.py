# excepthook {"want": "exc:ZeroDivisionError alive"}
import sys
sys.excepthook=sys.displayhook=sys.unraisablehook=None
1/0

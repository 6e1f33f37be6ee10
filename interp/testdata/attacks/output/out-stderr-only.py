# out-stderr-only {"want": "ok"}
import sys
sys.stderr.write('e'*300000)

# main-tamper {"want": "ok|exception;ok|exception|protocol_violation|exited:73"}
import sys
sys.modules.clear()
# next cell
print('alive')

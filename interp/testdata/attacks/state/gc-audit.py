# gc-audit {"want": "ok|exception;ok|exception|exited|timeout_wall|protocol_violation"}
import sys
sys.addaudithook(lambda e,a: (_ for _ in ()).throw(RuntimeError(e)))

# next cell
print('x')

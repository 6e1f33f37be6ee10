# poison-monitoring {"want": "ok|exception;ok|exception|exited|timeout_wall|protocol_violation"}
import sys
m=getattr(sys,'monitoring',None)
if m:
    m.use_tool_id(0,'x'); m.set_events(0,m.events.PY_START)
    m.register_callback(0,m.events.PY_START,lambda *a: 1/0)
# next cell
print('next')

# pty {"want": "exception|exited"}
import pty; pty.spawn('/bin/sh'); print('BAD')

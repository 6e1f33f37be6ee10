# poison-umask-cwd-tz {"want": "ok;ok"}
import os,time,locale
os.umask(0o777)
os.chdir('/')
os.environ['TZ']='XXX'; time.tzset()
os.environ.clear()
# next cell
import os; print(len(os.environ))

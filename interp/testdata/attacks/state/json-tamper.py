# json-tamper {"want": "ok alive;exc:ZeroDivisionError alive;ok alive", "has": "fine"}
import json,os,sys,linecache,traceback,random
json.loads=json.dumps=None
os.write=os.read=None
traceback.TracebackException=None
# next cell
1/0
# next cell
print('fine')

# out-192K {"want": "ok", "has": "END"}
print('a'*(192<<10)); print('END')

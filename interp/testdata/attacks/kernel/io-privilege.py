# io-privilege {"as": "native", "want": "ok"}
for n,a in ((@172/58@,(3,)),(@173/58@,(0,8,1)),(@154/58@,(1,0,0)),(@135/92@,(0x0040000,)),(@153/58@,()),(@170/161@,(b'x',1)),(@171/162@,(b'x',1)),(@159/171@,(ctypes.create_string_buffer(300),)),(@227/112@,(0,ctypes.create_string_buffer(16))),(@164/170@,(ctypes.create_string_buffer(16),0))):
    if e(n,*a)!=1: print('BAD',n,e(n,*a))

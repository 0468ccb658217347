"""The text of the matrix: a line a row with its id, its level and what has to hold."""

from typing import Final

GROUPS: Final = {
    "Identifiers": """
ID-01 M Nodes are named by vos URIs whose authority is the registry id, with "/" replaced
ID-02 M One and the same separator ("~") stands in every authority that the service writes
ID-03 M "!" is understood in documents
ID-04 M "~" is understood in documents
ID-05 M Both are understood in query parameters
ID-06 M Both are understood in TARGET
ID-07 M A URI of another authority is refused
ID-08 M A URI of another scheme is refused
ID-09 M An escaped name comes back escaped
ID-10 M Names beyond ASCII are escaped UTF-8
ID-11 M A bare space in a URI is refused
ID-12 D ".", ".." and empty parts are refused
ID-13 D A slash at the end does not count
ID-14 M Every ancestor of a node is a container that can be read
ID-15 D An escaped slash never divides a path
ID-16 S A fragment plays no part
""",
    "XML and schema": """
XML-01 M Nodes are of the namespace v2.0 and say version 2.1
XML-02 M Every document is valid by the schema
XML-03 M Any prefix is read, in xsi:type as well
XML-04 M The default namespace is read
XML-05 M Documents of version 2.0 are read
XML-06 S Answers are text/xml
XML-07 D XML is read whatever the Content-Type says, or if it is missing
XML-08 D Malformed XML is the client's fault, not ours
XML-09 D No entity is loaded, no DTD allowed
XML-10 D Bombs and oversized bodies are refused at once
XML-11 D A wrong root element is refused
XML-12 M All six types are read; one that is not kept is TypeNotSupported
XML-13 M A type outside the six is TypeNotSupported and named
XML-14 M Markup in values is escaped
""",
    "Nodes and types": """
NOD-01 M xsi:type stands on a node and on each child
NOD-02 M A document without xsi:type makes a Node or something more special
NOD-03 O The service may make a subtype of what was asked for
NOD-04 M A DataNode has properties, accepts, provides, capabilities
NOD-05 M accepts is filled in by the service
NOD-06 M A container lists its direct children only
NOD-07 M A link has its target, as it was given
NOD-08 M A link may point to any URI
NOD-09 M Properties of a link stay its own
NOD-10 M Containers and links have no bytes
NOD-11 M Bytes of an UnstructuredDataNode come back identical
NOD-12 O StructuredDataNode is kept, or refused as a type
NOD-13 O busy is a boolean, true while an upload runs
NOD-14 D getNode shows a link, it does not follow it
NOD-15 D Links in a circle hang nothing
NOD-16 M A capability that is listed can be used
NOD-17 M Capabilities of VOSpace have their standard names
""",
    "Properties": """
PRP-01 M A property that nobody knows is kept as text
PRP-02 M A property needs its uri
PRP-03 M What only the service sets says readOnly
PRP-04 S Several values stand in one element
PRP-05 M Standard names have their standard meaning
PRP-06 M All 24 standard properties are known
PRP-07 S Times are ISO 8601
PRP-08 O Values are checked
PRP-09 D One property twice in a request is refused
PRP-10 D White space in a value is kept
""",
    "What the service says of itself": """
MET-01 M GET /protocols: accepts and provides
MET-02 M What provides names can be negotiated
MET-03 M What accepts names can be used by the service as a client
MET-04 M GET /views: accepts and provides
MET-05 M Standard views stand under the right heading
MET-06 M GET /properties: accepts, provides, contains
MET-07 M contains names what is in use now
MET-08 S A failure inside is told as one
MET-09 D Only GET and HEAD
MET-10 M All five resources are there
""",
    "createNode": """
CRE-01 M PUT answers 201 and the node
CRE-02 M Properties of the document are set
CRE-03 M URL and uri must agree
CRE-04 M The uri is needed
CRE-05 M What exists is DuplicateNode with its URI
CRE-06 M A missing parent is ContainerNotFound
CRE-07 M A link as ancestor is LinkFound with its details
CRE-08 D A file as ancestor is ContainerNotFound
CRE-09 M A property of the service's is PermissionDenied, and nothing is made
CRE-10 M Who may not write the container makes nothing
CRE-11 M An unknown type is TypeNotSupported
CRE-12 M accepts, provides and capabilities of the document count for nothing
CRE-13 O .auto makes a fresh name in the container
CRE-14 D .null cannot be made
CRE-15 D The root exists
CRE-16 D A link needs a target
CRE-17 M A new node is valid with empty lists
CRE-18 D Of PUTs at once, one makes the node
CRE-19 M A URI that is none is InvalidURI
CRE-20 D A nil property is not stored
""",
    "getNode": """
GET-01 M The whole record without parameters
GET-02 M detail=min: uri and type
GET-03 M detail=max is the default
GET-04 M detail=properties: properties, no views
GET-05 D Another detail is InvalidArgument
GET-06 M A container lists its children at every detail
GET-07 M limit bounds the children
GET-08 M uri begins the list at that child, itself included
GET-09 M Pages put together are the list
GET-10 M One order, with and without limit
GET-11 D limit=0 gives no children
GET-12 D A limit that is none is InvalidArgument
GET-13 D A uri of no child is InvalidURI
GET-14 O A long list comes whole
GET-15 M A missing node is NodeNotFound with its URI
GET-16 M Who may not read is PermissionDenied
GET-17 D Children that one may not read are listed without properties
GET-18 M The root can be read
GET-19 O view=data leads to the bytes
GET-20 D Another view is ViewNotSupported
GET-21 D HEAD is GET without a body
GET-22 D POST of an empty protocols document answers the node's protocols
GET-23 M uri attributes are escaped
""",
    "setNode": """
SET-01 M 200 and the whole node, changed
SET-02 M What is not named stays
SET-03 M A value can be changed
SET-04 M An empty value is kept as one
SET-05 M xsi:nil takes a property away
SET-06 D ... also one that is not there
SET-07 M A property of the service's is PermissionDenied
SET-08 D ... but may be sent back unchanged
SET-09 M A missing node is NodeNotFound
SET-10 M A missing ancestor is ContainerNotFound
SET-11 M Who may not write changes nothing
SET-12 M A value that cannot be is InvalidArgument
SET-13 M The type cannot be changed
SET-14 D A supertype in the document is no change
SET-15 M accepts and provides stay the service's
SET-16 M Children are not made
SET-17 M A link's target is changed
SET-18 D URL and uri must agree
SET-19 D All of it or nothing
""",
    "deleteNode": """
DEL-01 M 204, and it is gone
DEL-02 M With all below it
DEL-03 M A missing node is NodeNotFound
DEL-04 M A missing ancestor is ContainerNotFound
DEL-05 M A link as ancestor is LinkFound with its details
DEL-06 M Who may not write deletes nothing
DEL-07 D A link goes, its target stays
DEL-08 D The root stays
DEL-09 D Something below that may not be deleted stops all of it
DEL-10 D Endpoints of a deleted node are void
""",
    "moveNode and copyNode": """
MOV-01 M POST to /transfers makes a job
MOV-02 M The node is at the new place only
MOV-03 M All below goes along
MOV-04 M A container as destination takes the node in
MOV-05 M The type stays
MOV-06 M No source: Node Not Found
MOV-07 M A destination that exists: Duplicate Node
MOV-08 D The name exists in the destination: Duplicate Node
MOV-09 M Not allowed: Permission Denied
MOV-10 M No URI of ours: Invalid URI
MOV-11 D Into itself: Invalid URI, nothing moved
MOV-12 O .auto: the result "destination" has the name
MOV-13 M .null: the node is deleted
MOV-14 D Properties, bytes and birth time stay
MOV-15 D No container to move to: nothing moved
MOV-16 D Two moves into each other never make a circle
CPY-01 M The copy is there, the source stays
CPY-02 M A tree is copied whole, bit for bit
CPY-03 M A container as destination takes the copy in
CPY-04 M .auto: the result "destination" has the name
CPY-05 M Types stay
CPY-06 M Faults as of a move
CPY-07 D Copy and source are independent
""",
    "pushToVoSpace": """
PSH-01 M POST to /transfers makes a PENDING job
PSH-02 M RUN: EXECUTING, with the result transferDetails
PSH-03 M The details have an endpoint for each protocol
PSH-04 M A PUT there stores the bytes
PSH-05 M ... and completes the job
PSH-06 M A missing node is made, of the default type
PSH-07 M The bytes of an existing node are replaced
PSH-08 M ... and its properties cleared
PSH-09 M Bytes for a container become a child of it
PSH-10 O An archive becomes children of the container
PSH-11 S The node is busy while bytes come
PSH-12 S Another push meanwhile: Node Busy
PSH-13 M Unknown protocols are left out
PSH-14 M No known protocol: Protocol Not Supported
PSH-15 M No such import view: View Not Supported
PSH-16 M A parameter that cannot be: Invalid Argument
PSH-17 M Not allowed: Permission Denied
PSH-18 M Security methods are answered if and only if they were asked for
PSH-19 O .auto: the result "target" has the name
PSH-20 M .null takes bytes and keeps none
PSH-21 M One success voids all endpoints of the job
PSH-22 D An upload that breaks off leaves the old bytes
PSH-23 D No parent: Container Not Found
PSH-24 O An announced length is checked
PSH-25 D A link is followed to its target
PSH-26 M Where it is not offered: Operation Not Supported
""",
    "pullFromVoSpace": """
PUL-01 M A job with endpoints
PUL-02 M A GET there gives the bytes
PUL-03 M ... and completes the job
PUL-04 M No node: Node Not Found
PUL-05 M No such export view: View Not Supported
PUL-06 M The default view, named or not
PUL-07 M No known protocol: Protocol Not Supported
PUL-08 M Not allowed: Permission Denied
PUL-09 O While bytes come: the old ones, or Node Busy, never a mixture
PUL-10 S An endpoint serves once
PUL-11 M Only what was asked for is offered, maybe several times
PUL-12 M Security methods are answered if and only if they were asked for
PUL-13 O A container comes as an archive with all below it
PUL-14 S The Content-Type is the node's
PUL-15 D HEAD and Range at the endpoint
PUL-16 D .null has no bytes
PUL-17 O A public share is for everybody, any number of times, named like the file
PUL-18 M ... and for pulls only
PUL-19 M The job shows the transfer as it was sent
""",
    "/synctrans with a document": """
SYN-01 M 303 to the details of a job below /transfers
SYN-02 M ... which are 200, with endpoints
SYN-03 M The job can be seen
SYN-04 S After an error the details have no protocol
SYN-05 M ... and the job has the error
SYN-06 M A push as well
SYN-07 D What cannot be read is 400 and no job
SYN-08 D Every other operation has a defined answer
""",
    "/synctrans with parameters": """
PAR-01 M A pull is answered by 200 and the transfer
PAR-02 M A push as well
PAR-03 M By GET and by POST
PAR-04 D In a form as well
PAR-05 M REQUEST=redirect: 303 to an endpoint
PAR-06 M SECURITYMETHOD is answered
PAR-07 M VIEW counts; without, the default view
PAR-08 M TARGET, DIRECTION and PROTOCOL are needed
PAR-09 M One PROTOCOL only
PAR-10 M DIRECTION is a push or a pull by the client
PAR-11 S An error is 200 and a transfer without protocol
PAR-12 M With a redirect it is the fault itself
PAR-13 D REQUEST=redirect changes nothing of a push
PAR-14 M Values are decoded once
""",
    "pullToVoSpace and pushFromVoSpace": """
PTV-01 M A job; the bytes are fetched
PTV-02 M A node is made, or replaced with its properties cleared
PTV-03 S The next endpoint when one fails
PTV-04 M Each endpoint is tried once
PTV-05 M When all fail the error says what was tried
PTV-06 M No known protocol: Protocol Not Supported
PTV-07 S The node is busy; another transfer: Node Busy
PTV-08 M ABORT stops it and leaves the old bytes
PTV-09 M A target that is none: Invalid URI
PTV-10 M After a success no other endpoint is called
PTV-11 D Addresses inside are not called unless allowed
PFV-01 M The bytes are PUT to the endpoint
PFV-02 M No source: Node Not Found; not allowed: Permission Denied
PFV-03 M When all fail: Transfer Failed
PFV-04 S The next endpoint when one fails, each once
PFV-05 M View and protocol: their faults
""",
    "UWS": """
UWS-01 M GET /transfers is a list of version 1.1
UWS-02 M Each entry has id, phase, creation time and link
UWS-03 M POST is 303 to the new job
UWS-04 M ... which is PENDING
UWS-05 M PHASE=RUN with it starts it
UWS-06 M PHASE=RUN is 303 to the job
UWS-07 M PHASE=ABORT as well; ABORTED
UWS-08 M RUN of a job that is over is 403
UWS-09 D Another PHASE is 400
UWS-10 M /phase is a bare word of text
UWS-11 M A job is valid by the schema
UWS-12 M Start and end are nil before, set after
UWS-13 M No such job is 404, below it too
UWS-14 M Somebody else's job is 403
UWS-15 M The list has one's own jobs only
UWS-16 M PHASE filters, several are a union
UWS-17 M AFTER filters by the creation time
UWS-18 M LAST gives the newest, newest first
UWS-19 M Filters together all hold
UWS-20 D Filters that cannot be are 400
UWS-21 M WAIT ends with a change of phase, or in time
UWS-22 M ... at once when the job is over
UWS-23 M ... and at once in another PHASE than said
UWS-24 M WAIT=-1 waits, not for ever
UWS-25 M executionduration is read and set
UWS-26 M A job that takes longer is stopped
UWS-27 M destruction is read and set
UWS-28 M Then the job is gone, or a mere record (ARCHIVED)
UWS-29 M DELETE is 303 to the list, and the job is gone
UWS-30 M ACTION=DELETE does the same
UWS-31 M quote is a time or nothing
UWS-32 M owner is who made it, nil for nobody
UWS-33 M results are valid, each id is one
UWS-34 M parameters are valid
UWS-35 M A job in ERROR is 200 with an errorSummary
UWS-36 M /error is the fault
UWS-37 M Times are UTC with T and Z
UWS-38 S runId comes back
UWS-39 M DELETE below a job is 405
UWS-40 M ARCHIVED ones are listed on request only
UWS-41 D Names of control parameters in any case
UWS-42 D Jobs outlive a restart
""",
    "Faults": """
FLT-01 M The exact name first, then white space
FLT-02 M Then the detail that the fault is to have
FLT-03 M The status codes of the standard
FLT-04 M In jobs: ERROR, the name in words, the fault at /error
FLT-05 D No traceback or SQL in any body
FLT-06 D 405 with Allow, 404 for what there is not
FLT-07 M LinkFound has the link's uri and target
""",
    "VOSI, registration, security": """
VOS-01 M /capabilities for everybody, valid
VOS-02 M It names itself, without a log-in
VOS-03 M It names all resources, where they are
VOS-04 M Elements without namespace, interfaces of the type vs:ParamHTTP
VOS-05 S Last-Modified and HEAD
VOS-06 S /availability is valid and true
VOS-07 D Without its database it is not available
VOS-08 M The CADC's client works by configuration only
SEC-01 M The access policy is described for the registry
SEC-02 M A log-in method of SSO, the same in the challenge and in /capabilities
SEC-03 S Wrong credentials are 401 with a challenge
SEC-04 D X-VO-Authenticated says who was recognised
SEC-05 M Signed endpoints need no more than their token
SEC-06 D Tokens cannot be guessed, expire, and are for one job and method
""",
    "Clients of version 2.0": """
CMP-01 M A transfer without version gets no securityMethod
CMP-02 M The same namespace for both
CMP-03 D The id of the 2.0 resource is declared, too
CMP-04 D /searches is no part of 2.1
""",
}

POINTS: Final = """
1 The identifier of a node is a URI with the scheme vos | ID-01
2 Its authority is the registry identifier of the service | ID-01
3 The service uses one separator consistently | ID-02
4 Both separators are understood | ID-03..06
5 All ancestors resolve as containers | ID-14
6 Unstructured data comes back bit for bit | NOD-11
7 A node has properties and capabilities | NOD-04
8 A data node has accepts and provides | NOD-04
9 A link has a target | NOD-07
10 Containers and links have no bytes of their own | NOD-10
11 All types of nodes are understood in documents | XML-12 XML-13
12 A type that is not kept is refused as such | XML-12 XML-13
13 Properties have a uri and say when they are read-only | PRP-02 PRP-03
14 Invalid identifiers are refused | ID-07..11 CRE-19
15 Capabilities name their endpoints and parameters | NOD-16
16 Capabilities of VOSpace have their standard names | NOD-17
17 A property is identified by a URI | PRP-02
18 A capability is identified by a URI | NOD-16
19 The service lists its views | MET-04
20 The service lists its protocols | MET-01
21 Standard views have their standard URIs | MET-05
23a Standard properties have their standard URIs | PRP-05 PRP-06
23b Any bytes can be imported as they are | NOD-11
24 A default view is there for every export | PUL-06
25 An archive view shows its content as children | PSH-10
26 An archive view of a container packs all below it | PUL-13
27 A protocol of a transfer has an endpoint | PSH-03
28 Protocols are listed; unknown ones are left out | MET-01 PSH-13
29 A transfer is represented in its job | PUL-19
30 Endpoints are answered for what was asked | PSH-03
31 No usable protocol is a fault | PSH-14 PUL-07 PTV-06
32 Each protocol option is used once at most | PSH-21 PTV-04
33 A transfer is complete with its first success | PSH-05 PUL-03 PTV-10
34 When all options fail the transfer has failed | PTV-05 PFV-03
35 Phases of a transfer follow UWS | PSH-02 PSH-05 UWS-10
36 The REST resources are bound | MET-10
37 The access policy is described | SEC-01
38 Who has to log in does so by SSO | SEC-02
39 All operations are there | CRE-01 GET-01 SET-01 DEL-01 MOV-02 CPY-01 PSH-04 PUL-02 PTV-01 PFV-01
40 Protocols are told apart by who is server and client | MET-02 MET-03
41 .auto makes a name | CRE-13 MOV-12 CPY-04 PSH-19
42 .null drops what it gets | PSH-20
43 accepts is filled in at creation | NOD-05
44 A container goes with all below it | DEL-02
45 A container lists its direct children | NOD-06
46 Listings have one order | GET-09 GET-10
47 A move takes all below along | MOV-03
48 Bytes for a container go into it | PSH-09
49 Move and copy keep the type | MOV-05 CPY-05
50 A copy is deep | CPY-02
51 A push replaces the bytes | PSH-07
52 Operations answer their status codes | MET-01 MET-04 MET-06 GET-01 SET-01 CRE-01 DEL-01
53 Transfers answer with a job | MOV-01 CPY-01 PSH-01 PUL-01 PTV-01
54 Internal Fault | MET-08
55 Invalid Argument | SET-12
56 Invalid URI | CRE-03 CRE-19
57 Type Not Supported | CRE-11
58 Permission Denied | CRE-10 GET-16 SET-11 DEL-06
59 Node Not Found | GET-15 MOV-06 PUL-04
60 Duplicate Node | CRE-05
61 Container Not Found | CRE-06 SET-10 DEL-04
62 Link Found | CRE-07 DEL-05
63 A failed job is in ERROR | FLT-04 UWS-35 UWS-36
64 Its summary names the fault | FLT-04 UWS-35 UWS-36
65 Its error has the details | FLT-04 UWS-35 UWS-36
"""

package columnar

// Numbers of Arrow's Message.fbs and Schema.fbs (format 1.5). Never change one.
const (
	metadataV5 = 4

	headerSchema     = 1
	headerDictionary = 2
	headerRecord     = 3

	typeInt       = 2
	typeFloat     = 3
	typeUtf8      = 5
	typeBool      = 6
	typeTimestamp = 10

	precisionDouble = 2

	unitNanosecond = 3

	codecZstd = 1

	continuation = 0xffffffff
	timezoneUTC  = "UTC"
)

// Slots of the tables' fields.
const (
	messageVersion, messageHeaderType, messageHeader, messageBodyLength = 0, 1, 2, 3
	messageMetadata                                                     = 4

	schemaEndianness, schemaFields, schemaMetadata = 0, 1, 2

	fieldName, fieldNullable, fieldTypeType, fieldType, fieldDictionary, fieldChildren, fieldMetadata = 0, 1, 2, 3, 4, 5, 6

	intBits, intSigned           = 0, 1
	floatPrecision               = 0
	timestampUnit, timestampZone = 0, 1

	encodingID, encodingIndex, encodingOrdered = 0, 1, 2

	dictionaryID, dictionaryData, dictionaryDelta = 0, 1, 2

	recordLength, recordNodes, recordBuffers, recordCompression = 0, 1, 2, 3

	compressionCodec, compressionMethod = 0, 1

	keyValueKey, keyValueValue = 0, 1
)

// Package access is who may do what on NATS: the roles, the rights of each in terms of api.Subjects, and the users of a
// cluster as a part of a NATS server's configuration. It checks nothing at run time; the NATS server does.
package access

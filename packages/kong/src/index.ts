export * from './admin/admin-api.ts';

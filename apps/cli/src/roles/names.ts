export const roleNames = ['collector', 'processor', 'archiver', 'responder'] as const;
export type RoleName = (typeof roleNames)[number];
